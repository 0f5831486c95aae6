"""What the first processor of this machine says of itself."""


def processor_says() -> dict[str, str]:
    """What Linux tells of the first processor, by field: `vendor_id`, `model name`, `flags`; elsewhere {}."""
    said: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                name, colon, value = line.partition(":")
                if not colon:  # a blank line, behind which the next one begins
                    break
                said[name.strip()] = value.strip()
    except OSError:  # not Linux
        pass
    return said
