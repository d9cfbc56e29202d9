from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.run.report.timeline import MOST_SAMPLES, Timeline
from pipelines.run.tally import FIRST_BLOCK


@given(st.integers(1, 2000), st.floats(0.2, 30))
def test_samples_are_few_and_spread_over_the_whole_run(looks: int, between: float) -> None:
    timeline = Timeline()
    for look in range(looks):
        timeline.add(look * between, {"read": {"rows": look * 10.0}})
    timeline.add(looks * between, {"read": {"rows": looks * 10.0}}, last=True)
    found = timeline.figures()
    assert len(found["seconds"]) == len(found["rows"]["read"]) <= MOST_SAMPLES
    assert len(found["seconds"]) >= min(looks, MOST_SAMPLES // 2)
    assert (found["seconds"][0], found["rows"]["read"][-1]) == (0, looks * 10)
    gaps = [after - before for before, after in zip(found["seconds"], found["seconds"][1:], strict=False)]
    # Nowhere is a hole: the last sample may follow soon on the one before it.
    assert max(gaps) <= 4 * max(between, found["seconds"][-1] / len(gaps)) + 0.2


def test_a_stage_that_begins_late_had_done_nothing_before() -> None:
    timeline = Timeline()
    timeline.add(0.0, {FIRST_BLOCK: {}, "read": {"rows": 5.0}})
    timeline.add(1.0, {"read": {"rows": 9.0}, "dense": {"rows": 3.0, "tokens": 30.0}})
    assert timeline.figures() == {
        "seconds": [0.0, 1.0],
        "rows": {"read": [5, 9], "dense": [0, 3]},
        "tokens": {"dense": [0, 30]},
    }
