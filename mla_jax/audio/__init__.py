"""From sound to embeddings.

Takes sound files (wav, flac, ogg, mp3, ...) of any sample rate, length and number of channels; returns an
embedding of each example, `[segments, features]`, with the second at which each begins. `sound_file` opens
files and `decode` makes 16 kHz mono of them; `log_mel` is the front end; `encoder` says what an encoder is,
`encoders` finds one by name, `embed` runs it over files. `vggish`, `yamnet` and `statistics` are encoders;
`pca` makes bytes of any embedding. `weights` keeps an encoder's arrays, which `convert` and `published` bring
and `verify` compares with what is published.

Knows nothing of labels, models or runs.
"""
