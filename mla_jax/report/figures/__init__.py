"""Pictures, drawn without a display: functions of arrays that return a Figure."""
