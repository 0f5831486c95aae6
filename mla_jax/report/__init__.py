"""Reports of finished runs: one HTML page, pictures, and what is added to TensorBoard.

    gather.gather(workdirs)  ->  contents.Report  ->  page.render(report)

`gather` reads the runs' folders and evaluates them on clips; `contents` has the values that a report is
made of; `page` turns them into HTML, with its `tables` and its `pictures`, drawn in `figures/`.
`write` does all of this to a file; `clip_picture` and `tensorboard` show runs in other ways. Takes folders
of runs, and changes nothing in them but their TensorBoard files. Numbers are called metrics; figures and
pictures are drawn.
"""
