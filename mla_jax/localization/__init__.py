"""How well scores tell when a class sounds, judged by strong labels (file, onset, offset, class).

`strong_labels` reads and writes the file, `matching` finds the clip of each file that it names, `events`
turns events into active segments [num_clips, time, num_classes] and back, `segment_metrics` compares scores
of the same shape with them:

    labels = read_strong_labels("eval.tsv", classes)
    reference = segment_reference(labels, clips.video_ids, clips.mask(), len(classes))
    metrics = evaluate_segments(scores, reference.active, mask=reference.mask, known=reference.known)

`figures` judges several scores at once, with intervals, also within clips alone (`within_clips`); `truth`
reads the strong labels of clips, and says what it leaves out.

NumPy only: knows no model, and of the data only the class list.
"""
