"""Which clips a step draws: exact cycles, exact rounds, and nothing but (seed, step) behind them.

Compiling takes most of the time, so tests share shapes: the same clips and batch size, permutations of
as many numbers. A batch holds more than the clips and than the classes.
"""

import dataclasses
import itertools
import time
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import Embedding, Scaling
from mla_jax.training.sampler import (
    BalancedSampler,
    Sampler,
    UniformSampler,
    make_sampler,
    permute,
)
from tests.support.helpers import raises_user_error, random_clips

KINDS = ["uniform", "balanced"]
ABSENT = (2, 11)


def make_clips(num_clips: int = 80, num_classes: int = 13, seed: int = 0) -> ClipSet:
    """Clips of 1 to 4 labels; no clip has a class of ABSENT."""
    clips = random_clips(num_clips=num_clips, time=1, features=1, num_classes=11, seed=seed)
    present = np.setdiff1d(np.arange(num_classes), ABSENT).astype(np.int32)
    return dataclasses.replace(clips, label_ids=present[clips.label_ids], num_classes=num_classes)


BATCH = 250
_draw = jax.jit(lambda sampler, steps: jax.vmap(sampler)(steps))
_permute = jax.jit(permute)


def draw(sampler: Sampler, start: int = 0) -> np.ndarray:
    """The 2,000 draws of eight steps from `start` on."""
    draws = _draw(sampler, np.arange(8, dtype=np.uint32) + np.uint32(start))
    assert (draws.dtype, draws.shape) == (jnp.int32, (8, sampler.batch_size))
    return np.asarray(draws).ravel()


def balanced(clips: ClipSet, seed: int = 0) -> BalancedSampler:
    sampler = make_sampler(clips, "balanced", seed=seed, batch_size=BATCH)
    assert isinstance(sampler, BalancedSampler)
    return sampler


def draw_places(sampler: BalancedSampler, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """For each draw its place among the present classes, and its place within that class.

    A clip of several labels does not tell for which of them it was drawn; so the sampler is asked for
    positions in its index instead of clips.
    """
    index = jnp.arange(len(sampler.clip_ids), dtype=jnp.int32)
    position = draw(dataclasses.replace(sampler, clip_ids=index), start)
    first = np.asarray(sampler.first).astype(np.int64)
    label = np.searchsorted(first, position, side="right") - 1
    return label, position - first[label]


def assert_cycles(draws: np.ndarray, size: int) -> None:
    """Each of 0 ... size - 1 once, in every whole cycle; at most once in the rest of one."""
    whole = len(draws) // size * size
    cycles = np.sort(draws[:whole].reshape(-1, size), axis=1)
    np.testing.assert_array_equal(cycles, np.broadcast_to(np.arange(size), cycles.shape))
    assert len(np.unique(draws[whole:])) == len(draws) - whole


def permute_padded(
    position: np.ndarray, size: np.ndarray | int, keys: jax.Array, length: int = 500_000
) -> np.ndarray:
    """`permute` compiled once for all calls, which are filled up to one length."""
    rest = length - len(position)
    size = np.broadcast_to(np.asarray(size, np.uint32), position.shape)
    image = _permute(
        np.pad(position.astype(np.uint32), (0, rest)),
        np.pad(size, (0, rest), constant_values=1),
        keys[np.pad(np.arange(len(position)) % len(keys), (0, rest))],
    )
    assert image.dtype == jnp.uint32
    return np.asarray(image)[: len(position)].astype(np.int64)


def images(sizes: list[int], num_keys: list[int], seed: int = 0) -> list[np.ndarray]:
    """The bijections of so many keys for each size, [num_keys, size] each; all in one call."""
    size_of_key = np.repeat(sizes, num_keys)
    owner = np.repeat(np.arange(len(size_of_key)), size_of_key)
    position = np.concatenate([np.arange(n) for n in size_of_key])
    keys = jax.random.split(jax.random.key(seed), len(size_of_key))
    image = permute_padded(position, size_of_key[owner], keys[owner])
    parts = np.split(image, np.cumsum(np.multiply(sizes, num_keys))[:-1])
    return [part.reshape(-1, n) for part, n in zip(parts, sizes, strict=True)]


def assert_even(counts: np.ndarray, freedom: int) -> None:
    """A chi-square test that all counts are of one mean, at 3.5 standard deviations."""
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert statistic < freedom + 3.5 * np.sqrt(2 * freedom)


def test_permute_is_a_bijection() -> None:
    sizes = [*range(1, 201), 4095, 4096, 4097, 65535, 65536, 65537, 100_003]
    for size, (image,) in zip(sizes, images(sizes, [1] * len(sizes)), strict=True):
        np.testing.assert_array_equal(np.sort(image), np.arange(size), err_msg=f"size {size}")


def test_permute_keeps_apart_what_is_too_many_to_list() -> None:
    sizes, ends = [2_041_789, 2**31, 2**31 + 11, 2**32 - 1], np.arange(1000)
    positions = [
        np.concatenate([ends, size - 1 - ends, 1000 + np.arange(6000) * ((size - 2000) // 6000)])
        for size in sizes
    ]
    whole = permute_padded(
        np.concatenate(positions),
        np.repeat(np.array(sizes, np.uint32), 8000),
        jax.random.split(jax.random.key(1), 1),
    )
    for size, image in zip(sizes, np.split(whole, len(sizes)), strict=True):
        assert len(np.unique(image)) == 8000
        assert image.max() < size
        for part in (image[:1000], image[1000:2000], image[2000:]):  # over the whole range
            assert_even(np.bincount(part * 32 // size, minlength=32), freedom=31)


def test_all_orders_come_up_about_equally_often() -> None:
    """Bounds, not a test of exact equality, which four rounds do not reach.

    Their exact shares, counted over all words, are 1 (two clips), 0.94 to 1.03 (three) and 0.75 to
    1.125 (four) of an equal share.
    """
    orders = {2: (2, 1, 1), 3: (6, 0.9375, 1.03125), 4: (24, 0.75, 1.125)}
    parts = images(list(orders), [1000 * number for number, _, _ in orders.values()])
    noise = 3.5 / np.sqrt(1000)  # three and a half standard deviations of a count
    for image, (number, least, most) in zip(parts, orders.values(), strict=True):
        _, counts = np.unique(image, axis=0, return_counts=True)
        assert len(counts) == number
        assert counts.min() / 1000 > least - noise
        assert counts.max() / 1000 < most + noise


def test_permute_shows_no_pattern_at_a_class_like_size() -> None:
    size, num_keys = 60, 6000
    (image,) = images([size], [num_keys])
    assert len(np.unique(image, axis=0)) == num_keys
    assert not (images([size], [num_keys], seed=1)[0] == image).all(axis=1).any()
    # Every position goes everywhere equally often: each cell of the table holds 100 on average.
    table = np.array([np.bincount(image[:, i], minlength=size) for i in range(size)])
    assert_even(table, freedom=(size - 1) ** 2)
    # The correlation of position and image is that of a random order: mean 0, variance 1 / (size - 1).
    position = np.arange(size) - (size - 1) / 2
    correlation = (image - image.mean(axis=1, keepdims=True)) @ position / (position**2).sum()
    assert abs(correlation.mean()) < 3.5 / np.sqrt((size - 1) * num_keys)
    np.testing.assert_allclose(correlation.var() * (size - 1), 1, atol=3.5 * np.sqrt(2 / num_keys))
    # One fixed point on average, and neighbours at every distance.
    assert abs((image == np.arange(size)).sum(axis=1).mean() - 1) < 3.5 / np.sqrt(num_keys)
    distance = np.bincount(np.diff(image, axis=1).ravel() % size, minlength=size)[1:]
    np.testing.assert_allclose(distance / distance.mean(), 1, atol=0.08)


@pytest.mark.parametrize("num_clips", [1, 2, 37, 80, 250, 1999])
def test_uniform_epochs_hold_each_clip_once(num_clips: int) -> None:
    clips = random_clips(num_clips=num_clips, time=1, features=1)
    draws = draw(make_sampler(clips, "uniform", seed=3, batch_size=BATCH))
    assert_cycles(draws, num_clips)
    if 20 < num_clips < 1000:
        epochs = draws[: len(draws) // num_clips * num_clips].reshape(-1, num_clips)
        assert_no_cycle_repeats_the_last(epochs)
        assert len(np.unique(epochs, axis=0)) == len(epochs)


def assert_no_cycle_repeats_the_last(cycles: np.ndarray) -> None:
    """No cycle is the one before it, rotated in place, or with every value moved by the same."""
    size = cycles.shape[1]
    for before, after in itertools.pairwise(cycles):
        rotations = np.array([np.roll(before, s) for s in range(size)])
        assert not (rotations == after).all(axis=1).any()
        assert len(np.unique((after - before) % size)) > 1
        assert len(np.unique(after ^ before)) > 1


def test_every_round_draws_each_present_class_once() -> None:
    clips = make_clips()
    sampler = balanced(clips)
    present = np.setdiff1d(np.arange(13), ABSENT)
    assert len(sampler.first) == len(present)
    label, place = draw_places(sampler)
    assert_cycles(label, len(present))
    rounds = label[: len(label) // 11 * 11].reshape(-1, 11)
    assert len(np.unique(rounds, axis=0)) == len(rounds)
    assert_no_cycle_repeats_the_last(rounds)
    # The clip of each draw carries the class that was drawn.
    drawn = draw(sampler)
    assert clips.multi_hot()[drawn, present[label]].all()
    # And it is the one of that place among the clips of its class.
    of_class = [np.flatnonzero(clips.multi_hot()[:, k]) for k in present]
    expected = [of_class[k][i] for k, i in zip(label, place, strict=True)]
    np.testing.assert_array_equal(drawn, expected)


def test_every_class_walks_through_its_clips_in_cycles() -> None:
    clips = make_clips()
    label, place = draw_places(balanced(clips))
    counts = clips.class_counts()
    counts = counts[counts > 0]
    assert counts.min() >= 8  # enough for two cycles never to be alike by chance
    for k, count in enumerate(counts):
        walk = place[label == k]
        assert len(walk) > 6 * count
        assert_cycles(walk, count)
        assert_no_cycle_repeats_the_last(walk[: len(walk) // count * count].reshape(-1, count))


def test_classes_of_one_size_and_of_two_clips() -> None:
    """Six classes of 20 clips each, and one of two."""
    clips = ClipSet.from_arrays(
        np.zeros((122, 1, 1), np.uint8),
        [[i % 6] for i in range(120)] + [[6], [6]],
        num_classes=7,
    )
    label, place = draw_places(balanced(clips))
    assert_no_cycle_repeats_the_last(np.array([place[label == k][:20] for k in range(6)]))
    pair = place[label == 6]
    assert_cycles(pair, 2)
    # Either of the two comes first in about half of the cycles.
    assert abs(pair[::2].mean() - 0.5) < 3.5 * 0.5 / np.sqrt(len(pair) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_seed_and_draw_number_counts(kind: str) -> None:
    """Draw d of a seed is the same in any step and batch size, compiled in any way or not at all."""
    clips = make_clips()
    draws = draw(make_sampler(clips, kind, seed=7, batch_size=BATCH))
    again = make_sampler(clips, kind, seed=7, batch_size=BATCH)
    np.testing.assert_array_equal(draw(again, start=3)[: 5 * BATCH], draws[3 * BATCH :])
    np.testing.assert_array_equal(draw(again), draws)
    small = make_sampler(clips, kind, seed=7, batch_size=10)
    np.testing.assert_array_equal(small(5), draws[50:60])  # not compiled
    _, scanned = jax.lax.scan(lambda carry, step: (carry, small(step)), 0, jnp.arange(200))
    np.testing.assert_array_equal(scanned.ravel(), draws)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_draw_differently(kind: str) -> None:
    clips = make_clips()
    draws = [
        draw(make_sampler(clips, kind, seed=seed, batch_size=BATCH))
        for seed in (0, 1, 2, 2**31 - 1)
    ]
    for a, b in itertools.combinations(draws, 2):
        assert (a == b).mean() < 0.05


def test_uniform_counts_exactly_up_to_the_limit() -> None:
    """The last steps whose draws 32 bits can number."""
    sampler = make_sampler(make_clips(), "uniform", seed=0, batch_size=BATCH)
    start = 2**32 // BATCH - 8
    skip = -(start * BATCH) % 80  # to where the next epoch begins
    draws = draw(sampler, start)[skip:]
    assert_cycles(draws, 80)
    assert_no_cycle_repeats_the_last(draws[: len(draws) // 80 * 80].reshape(-1, 80))


def test_balanced_counts_exactly_up_to_the_limit() -> None:
    clips = make_clips()
    start = 2**32 // BATCH - 8
    label, place = draw_places(balanced(clips), start)
    first_draw = start * BATCH
    skip = -first_draw % 11  # to where the next round begins
    assert_cycles(label[skip:], 11)
    first_turn = (first_draw + skip) // 11
    for k, count in enumerate(np.bincount(clips.label_ids)[np.unique(clips.label_ids)].tolist()):
        walk = place[skip:][label[skip:] == k]
        assert_cycles(walk[-first_turn % count :], count)


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_generator_does_not_matter(kind: str) -> None:
    clips = make_clips()
    expected = draw(make_sampler(clips, kind, seed=5, batch_size=BATCH))
    with jax.default_prng_impl("rbg"):
        sampler = make_sampler(clips, kind, seed=5, batch_size=BATCH)
        assert jax.random.key(0).dtype != sampler.key.dtype
        again = draw(sampler)
    np.testing.assert_array_equal(again, expected)


def test_the_draws_are_pinned() -> None:
    """A run that goes on under a later version must draw what it would have drawn."""
    clips = make_clips()
    drawn = {
        kind: draw(make_sampler(clips, kind, seed=0, batch_size=BATCH))[70:80].tolist()
        for kind in KINDS
    }
    assert drawn == {
        "uniform": [47, 41, 52, 12, 21, 71, 10, 69, 9, 26],
        "balanced": [28, 55, 39, 70, 36, 9, 8, 31, 55, 44],
    }


def test_the_index_stays_small_and_is_made_fast() -> None:
    num_clips, num_classes = 200_000, 527
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 4, num_clips)
    first = rng.integers(0, num_classes // 4, num_clips)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    clips = ClipSet(
        embeddings=np.zeros((num_clips, 1, 1), np.uint8),
        num_segments=np.ones(num_clips, np.int32),
        label_offsets=np.append(0, np.cumsum(counts)),
        label_ids=(np.repeat(first, counts) + 100 * place).astype(np.int32),
        video_ids=np.zeros(num_clips, "S1"),
        start_times=np.zeros(num_clips, np.float32),
        num_classes=num_classes,
        embedding=Embedding("uint8", 1, Scaling(0.0, 1.0)),
    )
    tracemalloc.start()
    began = time.perf_counter()
    sampler = balanced(clips)
    seconds, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    num_labels, num_present = len(clips.label_ids), len(sampler.first)
    size = sum(array.nbytes for array in (sampler.clip_ids, sampler.first, sampler.count))
    assert size == 4 * num_labels + 8 * num_present
    assert peak < 40 * num_labels
    assert seconds < 5
    uniform = make_sampler(clips, "uniform", seed=0, batch_size=BATCH)
    assert isinstance(uniform, UniformSampler)
    assert draw(uniform).max() < num_clips
    drawn = draw(sampler)
    # Every round holds every class: so each is carried by at least as many of the clips drawn.
    carried = clips[drawn].class_counts()
    assert (carried[clips.class_counts() > 0] >= len(drawn) // num_present).all()


def test_says_in_a_line_what_is_wrong() -> None:
    clips = make_clips()
    for kind in KINDS:
        with raises_user_error("no clips"):
            make_sampler(clips[:0], kind, seed=0, batch_size=4)
    with raises_user_error("data.sampler='random'", "balanced or uniform"):
        make_sampler(clips, "random", seed=0, batch_size=4)
    bare = ClipSet.from_arrays(np.zeros((3, 1, 1), np.uint8), np.zeros((3, 4)))
    with raises_user_error("no clip has a label", "data.sampler=uniform"):
        make_sampler(bare, "balanced", seed=0, batch_size=4)
    assert_cycles(draw(make_sampler(bare, "uniform", seed=0, batch_size=BATCH)), 3)


def test_clips_of_none_of_the_classes_are_drawn_as_one_class_more() -> None:
    clips = random_clips(num_clips=80, num_classes=1)
    labels = clips.multi_hot() & (np.arange(80) % 4 == 0)[:, None]
    detector = ClipSet.from_arrays(clips.embeddings, labels)
    draws = draw(balanced(detector))
    has = labels[draws, 0]
    assert has.sum() == len(draws) / 2
    for part in (draws[has], draws[~has]):
        cycle = part[: len(np.unique(part))]
        assert sorted(cycle) == sorted(np.unique(part))
    assert len(np.unique(draws)) == 80
    # A clip of which nothing is known is of no class, and of no background.
    mask = np.ones((80, 1), bool)
    mask[[1, 2]] = False
    masked = ClipSet.from_arrays(clips.embeddings, labels, label_mask=mask)
    assert set(range(80)) - set(draw(balanced(masked)).tolist()) == {1, 2}
