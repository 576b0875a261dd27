"""What a stream, a task and features look like when they are printed."""

from dataclasses import replace

from autods.streams.synthetic import synthetic_stream


def test_a_stream_prints_what_matters_in_at_most_ten_lines():
    stream = synthetic_stream(order=3)
    assert str(stream).splitlines() == [
        "Stream synthetic",
        "scenario  class-il, protocol clean",
        "encoder   none, normalization l2",
        "order     drawn with seed 3",
        "tasks     71 with 2,866 classes",
        f"samples   {', '.join(f'{n:,} {s}' for s, n in stream.provenance['counts'].items())}",
        f"first     {', '.join(task.name for task in stream.tasks[:3])}",
        f"last      {', '.join(task.name for task in stream.tasks[-3:])}",
    ]
    assert all(len(line) <= 100 for line in str(stream).splitlines())


def test_the_last_tasks_of_a_short_stream_are_not_shown_twice():
    four = str(synthetic_stream(tasks=4)).splitlines()
    assert four[-1].split() == ["last", "art"]
    assert not any(line.startswith("last") for line in str(synthetic_stream(tasks=3)).splitlines())


def test_a_notebook_shows_a_table_of_the_tasks_with_every_name_escaped():
    stream = synthetic_stream(tasks=3)
    task = replace(stream.tasks[0], name="<script>alert(1)</script>")
    html = replace(stream, name="a & b", tasks=[task, *stream.tasks[1:]])._repr_html_()
    assert html.count("<tr>") == 4 and "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "a &amp; b" in html
    assert synthetic_stream()._repr_html_().count("<tr>") == 22  # header, 10, an ellipsis, 10


def test_tasks_and_features_print_as_one_short_line_without_being_read():
    (task,) = synthetic_stream(tasks=1, classes=142, dim=4).tasks
    assert repr(task) == (
        f"Task(0, '{task.name}', {len(task.class_names)} classes from 0, {len(task.train):,} train,"
        f" {len(task.dev):,} dev, {len(task.test):,} test)"
    )
    assert repr(task.train) == f"FeatureSet({len(task.train):,} samples, 4 dimensions)"
    assert "features" not in vars(task.train)


def test_a_stream_is_iterated_and_counted_by_its_tasks():
    stream = synthetic_stream(order=3)
    assert list(stream) == stream.tasks
    assert len(stream) == 71
