"""The pictures: what they show is what they were given, in type that can be read."""

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from sklearn.metrics import precision_recall_curve

from mla_jax.explain.maps import ClipMap
from mla_jax.report.figures import attention, classes, curves, levels, style
from tests.support.helpers import raises_user_error

RNG = np.random.default_rng(0)
K = 30
NAMES = [f"class {k}" for k in range(K)]
LABELS = RNG.random((200, 2)) < 0.3
RUN = [
    {"step": 5, "loss": 0.7, "grad_norm": 1.0, "seconds": 1.0},
    {"step": 10, "loss": 0.1, "eval_mAP": 0.2},
    {"step": 20, "loss": 0.05, "eval_mAP": 0.4},
]


def _maps(rows: int = 3, time: int = 4) -> dict[str, ClipMap]:
    scores = np.linspace(0, 1, rows * time).reshape(rows, time)
    return {
        "segment score": ClipMap(scores, "probability"),
        "attention": ClipMap(scores / scores.sum(axis=1, keepdims=True), "weight"),
        "adds": ClipMap(scores - 0.5, "signed"),
    }


def _all_figures() -> dict[str, Figure]:
    precision = {"a": RNG.random(K), "b $x$": RNG.random(K)}
    clips = RNG.integers(1, 5000, K)
    shares = RNG.dirichlet(np.ones(3), K).T
    return {
        "curves": curves.training_curves({"one": RUN, "two $y$": RUN[:1]}),
        "precision_recall": curves.precision_recall(
            ["first", "second"], LABELS, {"a": RNG.random((200, 2)), "b": RNG.random((200, 2))}
        ),
        "rank": classes.precision_by_rank(precision, clips),
        "frequency": classes.precision_by_frequency(precision, clips),
        "intervals": classes.intervals({"a": (0.3, 0.28, 0.32), "b": (0.2, 0.19, 0.21)}, "mAP"),
        "attention": attention.attention_map(_maps(), NAMES[:3], [True, False, False]),
        "levels": levels.level_weights(shares, NAMES, ["after 1", "after 2", "after 3"]),
    }


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    return _all_figures()


def _texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_visible()]


def test_no_type_is_below_eight_points_and_nothing_leaves_the_figure(
    figures: dict[str, Figure],
) -> None:
    for name, figure in figures.items():
        style.to_pixels(figure)  # lays it out
        box = figure.bbox
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                assert text.get_fontsize() >= 8, (name, text.get_text())
        for axes in figure.axes:
            for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
                if label.get_text():
                    extent = label.get_window_extent()
                    assert extent.x0 >= box.x0 - 1, (name, label.get_text())
                    assert extent.x1 <= box.x1 + 1, (name, label.get_text())


def test_the_same_figure_is_the_same_svg_without_fonts_or_dates(figures: dict[str, Figure]) -> None:
    rank = classes.precision_by_rank({"a": np.linspace(0, 1, 5)}, np.arange(5))
    twice = classes.precision_by_rank({"a": np.linspace(0, 1, 5)}, np.arange(5))
    assert style.to_svg(rank) == style.to_svg(twice)
    for name, figure in figures.items():
        svg = style.to_svg(figure)
        tags = {element.tag.split("}")[1] for element in ET.parse(io.StringIO(svg)).iter()}
        assert "text" not in tags, name  # letters are outlines: no font is needed
        assert "date" not in tags, name


def test_figures_are_saved_whole(tmp_path: Path, figures: dict[str, Figure]) -> None:
    style.save(figures["rank"], tmp_path / "new" / "rank.png", dpi=50)
    height, width = imread(tmp_path / "new" / "rank.png").shape[:2]
    assert (width, height) == tuple(np.round(figures["rank"].get_size_inches() * 50).astype(int))
    style.save(figures["rank"], tmp_path / "rank.svg")
    assert ET.parse(tmp_path / "rank.svg").getroot().tag.endswith("svg")
    (tmp_path / "file").write_text("")
    with raises_user_error("cannot write"):
        style.save(figures["rank"], tmp_path / "file" / "rank.png")


def test_curves_are_the_records() -> None:
    figure = curves.training_curves({"one": RUN})
    left, right = figure.axes
    np.testing.assert_array_equal(left.lines[0].get_xydata(), [[5, 0.7], [10, 0.1], [20, 0.05]])
    np.testing.assert_array_equal(right.lines[0].get_xydata(), [[10, 0.2], [20, 0.4]])
    assert right.get_ylabel() == "mAP (eval)"
    held_out = [{"step": 1, "loss": 1.0, "validation_mAP": 0.5}]
    assert "held-out" in curves.training_curves({"one": held_out}).axes[1].get_ylabel()
    with raises_user_error("nothing to draw"):
        curves.training_curves({"one": []})


@pytest.mark.parametrize("levels_of_score", [3, 10**6])
def test_precision_and_recall_are_scikit_learns(levels_of_score: int) -> None:
    scores = np.floor(RNG.random(300) * levels_of_score)
    labels = RNG.random(300) < 0.2
    recall, precision = curves.precision_recall_points(scores, labels)
    theirs, their_recall, _ = precision_recall_curve(labels, scores)
    np.testing.assert_allclose(recall, their_recall[:-1][::-1][: len(recall)], rtol=1e-12)
    np.testing.assert_allclose(precision, theirs[:-1][::-1][: len(precision)], rtol=1e-12)
    assert len(recall) == len(np.unique(scores))


def test_a_class_without_positives_says_so() -> None:
    labels = LABELS.copy()
    labels[:, 1] = False
    figure = curves.precision_recall(["some", "none"], labels, {"a": RNG.random((200, 2))})
    assert len(figure.axes[0].lines) == 1
    assert len(figure.axes[1].lines) == 0
    assert "no positives" in _texts(figure)


def test_classes_are_sorted_by_the_first_run_and_undefined_ones_left_out() -> None:
    first, second = np.array([0.2, np.nan, 0.9, 0.5]), np.array([0.1, 0.2, 0.3, 0.4])
    figure = classes.precision_by_rank({"a": first, "b": second}, np.array([7, 8, 0, 10]))
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["a"], [0.9, 0.5, 0.2])
    np.testing.assert_array_equal(lines["b"], [0.3, 0.4, 0.1])
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), [0.5, 10, 7])


def test_medians_stand_for_classes_of_like_frequency() -> None:
    clips = np.array([10] * 5 + [15] * 5 + [100] * 4 + [1000] * 5)
    found = np.array([0.1] * 5 + [0.3] * 5 + [0.9] * 4 + [0.5] * 5)
    line = classes.precision_by_frequency({"a": found}, clips).axes[0].lines[1]
    np.testing.assert_allclose(line.get_xydata(), [[12.5, 0.2], [1000, 0.5]])  # four are too few


def test_a_map_shows_its_numbers_and_outlines_what_truly_sounds() -> None:
    maps = _maps()
    events = np.zeros((3, 4), bool)
    events[1, 1:3] = events[2, 0] = events[2, 3] = True
    figure = attention.attention_map(
        maps,
        ["Speech", "a $5 bill", "x" * 60],
        [True, False, False],
        probabilities=np.array([0.25, 0.5, 1.0]),
        events=events,
        seconds=2.0,
    )
    panels = figure.axes[:3]
    for axes, one, limits in zip(panels, maps.values(), [(0, 1), None, (-0.5, 0.5)], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), one.values)
        assert limits is None or axes.images[0].get_clim() == limits
        frames = [p for p in axes.patches if isinstance(p, Rectangle)]
        assert [(p.get_x(), p.get_width()) for p in frames] == [(2, 4), (0, 2), (6, 2)]
    names = panels[0].get_yticklabels()
    assert names[0].get_text() == f"{attention.LABEL_MARK} Speech  0.25"
    assert [t.get_fontweight() for t in names] == ["bold", "normal", "normal"]
    assert names[1].get_text() == r"a \$5 bill  0.50"  # matplotlib draws \$ as a plain dollar
    assert len(names[2].get_text()) < 40
    with raises_user_error("'attention' has shape"):
        attention.attention_map(
            {"attention": ClipMap(np.ones((2, 4)), "weight")}, NAMES[:3], [True] * 3
        )


def test_the_classes_named_are_those_that_favour_a_level_most() -> None:
    shares = np.array([[0.9, 0.1, 0.5, np.nan], [0.1, 0.9, 0.5, np.nan]])
    assert levels.favourites(shares, 1) == [0, 1]
    assert levels.favourites(shares, 5) == [0, 2, 1]  # each class once, none undefined
    figure = levels.level_weights(shares, list("abcd"), ["low", "high"], classes_per_level=1)
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()] == ["a", "b"]
    np.testing.assert_allclose(
        [p.get_width() for p in figure.axes[1].patches], [0.9, 0.1, 0.1, 0.9]
    )
    with raises_user_error("no class has a weight"):
        levels.level_weights(shares[:, 3:], ["d"], ["low", "high"])
    with raises_user_error("do not fit"):
        levels.level_weights(shares, list("abc"), ["low", "high"])
