"""AudioSet's released features: downloaded, unpacked and counted; and a builder of TensorFlow Datasets.

`release` fills a folder with the release's files. It uses `transfer` (one file over HTTP, resumed where it
broke off), `http_file` (one request), `archive` (safe unpacking) and `release_counts`. `tfds` turns such a
folder into a data set. This room knows where AudioSet is and what its files are called; no other room does,
and it knows no model.
"""
