from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from edgeglm.report.html import render_html
from edgeglm.report.remarks import alarms_doubt, outputs_differ
from edgeglm.report.types import AlarmRate, BudgetResult, ClassResult, Drop, Metric, Parity, SliceResult, Verdict
from edgeglm.report.typesetting import prose
from tests.support.edge_reports import HOSTILE, bare_report, hostile_report, wide_report
from tests.support.reports import (
    SAMPLES,
    cifar_report,
    digits_report,
    embedding_report,
    rejected_report,
    rich_report,
)

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Elements with attributes, text by element, and whether every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.style = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += f" {data}"

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_is_well_formed_fetches_nothing_and_runs_nothing(name: str) -> None:
    page = Page(render_html(SAMPLES[name]()))
    used = {tag for tag, _ in page.tags}
    assert not used & {"script", "link", "iframe", "object", "embed", "form", "base", "audio", "video"}
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key in {"style", "srcset"}], tag
        assert attributes.get("src", "data:image/").startswith("data:image/"), tag
        assert tag == "img" or "src" not in attributes
        assert attributes.get("href", "#").startswith("data:image/" if tag == "image" else "#")
    assert "url(" not in page.style
    assert "@import" not in page.style
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(link["href"][1:] in ids for link in page.named("a"))


def test_the_policy_allows_this_style_sheet_and_nothing_else() -> None:
    page = Page(render_html(cifar_report()))
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]


def test_nothing_a_user_wrote_becomes_markup() -> None:
    page = Page(render_html(hostile_report()))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert len(page.named("style")) == 1
    assert page.text.count("<script>alert(1)</script>") > 20
    assert "\u202e" not in page.text
    assert "\x1b" not in page.text
    assert HOSTILE not in render_html(hostile_report())


def test_the_verdict_comes_first_and_the_choice_next() -> None:
    headings = [re.sub(r"<[^>]+>", "", text) for text in re.findall(r"<h2>(.*?)</h2>", render_html(cifar_report()))]
    assert headings == [
        "\u2717Budget missed",
        "Which file",
        "Artifacts",
        "Where bytes and time go",
        "Stage by stage",
        "Change by class",
        "Confusion",
        "Steps",
        "Warnings",
        "Host",
        "Recipe and lineage",
    ]


def test_the_best_of_those_rejected_is_called_that() -> None:
    page = render_html(rejected_report())
    assert '<span class="chip best">best of those rejected</span>' in page
    assert "the best of those rejected of 4 files" in page
    assert "<code>rejected/model.static-int8.onnx</code>" in page


def test_a_sentence_has_true_minus_signs_and_its_code_none() -> None:
    text = "lost -3.7 to 3.7 pt; INT8-2 of static-int8 on 2026-11-22 keeps `-1`"
    assert prose(text) == "lost \u22123.7 to 3.7 pt; INT8-2 of static-int8 on 2026-11-22 keeps <code>-1</code>"


@pytest.mark.parametrize("source", ["onnx", "tflite"])
def test_the_size_of_a_baseline_that_is_a_file_is_said_to_be_that_files(source: str) -> None:
    found = digits_report()
    page = render_html(msgspec.structs.replace(found, recipe=found.recipe | {"model": {"source": source}}))
    assert "Stripped float32 ONNX" not in page
    assert "For the baseline the source file without what no runtime reads" in page


def test_the_headline_names_host_figures_and_gives_the_interval() -> None:
    text = re.sub(r"\s+", " ", Page(render_html(cifar_report())).text)
    assert "ONNX static-int8 for rpi5 is 7.36\u00d7 smaller and 2.03\u00d7 faster on this host than" in text
    assert "accuracy is 92.8 % , \u22120.8 pt (95 % interval \u22122.5 to +0.9 pt ): worse, though these" in text
    assert "Size 7.36\u00d7 smaller 3.44 MB \u2192 467 kB" in text
    assert "Speed on this host 2.03\u00d7 faster" in text
    assert "Peak memory 52.8 MB 61.4 MB before, \u221214 %" in text
    assert "Budget 3 of 3 met every line is met, by this file" in text
    assert "95 % interval \u22122.5 to +0.9 pt" in text
    assert "11 answers turned wrong, 7 right" in text
    assert "measure on the rpi5 itself" in text


@pytest.mark.parametrize(("lost", "told"), [(0.02, "0.0200 worse"), (-0.02, "0.0200 better"), (0.0, "no change")])
def test_of_an_error_that_should_be_low_a_gain_is_called_better_and_a_loss_worse(lost: float, told: str) -> None:
    before = Metric(name="rmse", value=0.5, n=500, ci95=(0.45, 0.55), higher_is_better=False)
    after = msgspec.structs.replace(before, value=0.5 + lost)
    drop = Drop(value=lost, ci95=(lost - 0.01, lost + 0.01), n=500, worse=0, better=0, method="bootstrap")
    found = digits_report()
    side = msgspec.structs.replace(found.artifacts[0], metric=after, drop=drop, per_class=[], splits={})
    baseline = msgspec.structs.replace(found.baseline, metric=before, per_class=[], splits={})
    found = msgspec.structs.replace(
        found,
        baseline=baseline,
        artifacts=[side],
        recipe=found.recipe | {"budget": {"metric_drop": 0.05}},
        budget=BudgetResult(met=True),
    )
    text = re.sub(r"\s+", " ", Page(render_html(found)).text)
    assert f"change of the metric budget.metric_drop 0.05 worse met {told}" in text
    proven = {0.02: "): proven worse.", -0.02: "): proven better.", 0.0: "): no change."}[lost]
    assert proven in text
    assert "RMSE, lower is better" in text


def test_an_artifact_that_did_not_pay_says_so_on_the_page() -> None:
    text = Page(render_html(cifar_report())).text
    assert "No faster than the baseline on this host: 0.44x" in text
    assert "Quantizing made it no faster: model.none.onnx takes 2.31 ms" in text
    text = Page(render_html(wide_report(40))).text
    assert "no smaller" in text


def test_every_figure_that_may_be_missing_may_be_missing() -> None:
    page = Page(render_html(bare_report()))
    assert "No budget set" in page.text
    assert "Speed on this host not measured" in re.sub(r"\s+", " ", page.text)
    assert "nan" not in page.text.lower()
    assert "None" not in page.text
    nothing = msgspec.structs.replace(bare_report(), artifacts=[], steps=[])
    assert "No artifact was made." in Page(render_html(nothing)).text


def test_there_is_a_chart_of_size_latency_and_metric_and_one_of_classes_for_each_artifact() -> None:
    charts = [svg for svg in Page(render_html(cifar_report())).named("svg") if svg.get("class") == "chart"]
    assert len(charts) == 1 + 3 + 4  # types of weights; stages; classes
    assert all(chart["role"] == "img" and chart["aria-labelledby"] for chart in charts)


def test_classes_of_fewer_than_30_samples_are_grey_and_said_to_be_so() -> None:
    made = render_html(digits_report())
    assert "1 of 11 classes have fewer than 30 samples: they are grey and not judged" in Page(made).text
    assert 'class="dot few"' in made


def test_of_many_classes_the_chart_shows_those_that_changed_most_and_the_table_all() -> None:
    made = render_html(wide_report(1000))
    page = Page(made)
    assert "The 24 classes that changed most of 1000." in page.text
    assert "All 1000 classes as a table" in page.text
    assert made.count('class="ring') == 24 + 1  # and the legend
    assert "The matrix of 1000 classes is in report.json." in page.text
    assert "taken for" in page.text
    assert not [table for table in page.named("table") if table.get("class") == "matrix"]


def test_the_matrix_of_few_classes_holds_every_count() -> None:
    made = render_html(cifar_report())
    assert made.count('class="matrix"') == 5
    matrix = made.split('class="matrix"')[1].split("</table>")[0]
    shown = [int(number) for number in re.findall(r"<td[^>]*>(\d+)</td>", matrix)]
    assert sum(shown) == 500


def test_tables_have_captions_and_headers_with_scope() -> None:
    page = Page(render_html(cifar_report()))
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(header["scope"] in {"col", "row"} for header in page.named("th"))


def test_steps_tell_settings_seconds_and_whether_they_came_from_the_cache() -> None:
    text = re.sub(r"\s+", " ", Page(render_html(cifar_report())).text)
    assert "took 14 s" in text
    assert "from the cache; took 10 min 11 s when it ran" in text
    assert "channel_ratio: 0.33" in text
    assert "853 k \u2192 392 k (\u221254 %)" in text
    assert "55 convolutions lost 33 %" in text
    assert "No steps" in Page(render_html(digits_report())).text


def test_further_splits_have_a_table() -> None:
    text = re.sub(r"\s+", " ", Page(render_html(digits_report())).text)
    assert "The further evaluation splits" in text
    assert "night" in text
    assert "\u22121.1 pt" in text


def test_the_recipe_is_shown_as_yaml_that_reads_back() -> None:
    from ruamel.yaml import YAML

    report = cifar_report()
    shown = re.search(r"<pre>(.*?)</pre>", render_html(report), re.S)
    assert shown is not None
    assert YAML(typ="safe").load(html.unescape(shown.group(1))) == report.recipe


def test_an_undecided_budget_says_what_would_settle_it() -> None:
    open_only = BudgetResult(met=None, undecided=cifar_report().budget.undecided)
    text = Page(render_html(cifar_report(budget=open_only))).text
    assert "Budget undecided" in text
    assert "About 612 samples would tell." in text


@pytest.mark.parametrize(
    ("started", "text"),
    [
        ("2026-11-22T03:58:41Z", "2026-11-22 03:58 UTC"),
        ("2026-11-22T05:58:41+02:00", "2026-11-22 03:58 UTC"),
        ("yesterday", "yesterday"),
    ],
)
def test_the_moment_of_a_run_is_told_in_utc(started: str, text: str) -> None:
    assert text in Page(render_html(cifar_report(started=started))).text


@pytest.mark.parametrize(
    ("lost", "interval", "n", "tone"),
    [
        pytest.param(0.1, (0.02, 0.18), 60, "bad", id="proven loss"),
        pytest.param(0.1, (-0.02, 0.22), 60, "open", id="loss within chance"),
        pytest.param(0.1, (0.0, 0.2), 60, "open", id="zero just inside"),
        pytest.param(-0.1, (-0.18, -0.02), 60, "good", id="proven gain"),
        pytest.param(-0.1, (-0.22, 0.02), 60, "", id="gain within chance"),
        pytest.param(0.1, (0.02, 0.18), 29, "", id="too few samples"),
    ],
)
def test_tables_and_charts_of_classes_and_slices_colour_a_change_by_what_is_proven(
    lost: float, interval: tuple[float, float], n: int, tone: str
) -> None:
    report = cifar_report()
    baseline = msgspec.structs.replace(
        report.baseline,
        per_class=[ClassResult(label="crane", n=n, recall=0.7)],
        confusion=[],
        slices=[SliceResult(name="light=dusk", n=n, value=0.7)],
    )
    drop = Drop(value=lost, ci95=interval, n=n, worse=0, better=0)
    after = msgspec.structs.replace(
        report.artifacts[0],
        per_class=[ClassResult(label="crane", n=n, recall=0.7 - lost, drop=lost, ci95=interval)],
        confusion=[],
        slices=[SliceResult(name="light=dusk", n=n, value=0.7 - lost, drop=drop)],
    )
    page = Page(render_html(msgspec.structs.replace(report, baseline=baseline, artifacts=[after])))
    tones = [span["class"].split()[1:] for span in page.named("span") if span.get("class", "").startswith("delta")]
    assert tones == [[tone] if tone else []] * 2
    drawn = [dot["class"] for dot in page.named("circle") if dot.get("class") in ("dot lost", "dot unsure")]
    for kind, its_tone in (("dot lost", "bad"), ("dot unsure", "open")):
        assert drawn.count(kind) == 1 + 2 * (tone == its_tone)  # the legend has each once


def test_two_classes_of_one_name_stay_two() -> None:
    crane = [ClassResult(label="crane", n=50, recall=recall) for recall in (0.9, 0.5)]
    after = [ClassResult(label="crane", n=50, recall=recall, drop=0.0) for recall in (0.9, 0.4)]
    report = cifar_report()
    baseline = msgspec.structs.replace(report.baseline, per_class=crane, confusion=[])
    artifact = msgspec.structs.replace(report.artifacts[0], per_class=after, confusion=[])
    text = Page(render_html(msgspec.structs.replace(report, baseline=baseline, artifacts=[artifact]))).text
    assert "All 2 classes" in text
    assert "crane: \u221210.0 pt; crane: 0.0 pt" in text


def test_candidates_are_plotted_with_links_to_their_rows_and_only_those_written_are_told_at_length() -> None:
    made = render_html(rich_report())
    page = Page(made)
    plots = [svg for svg in page.named("svg") if svg.get("class") == "chart scatter"]
    assert len(plots) == 2
    assert all(plot["role"] == "group" for plot in plots)  # an image would hide its links from those who see nothing
    links = [link for link in page.named("a") if link.get("class", "").startswith("point")]
    assert len(links) == 2 * 5
    assert {link["href"] for link in links} == {f"#file-{number}" for number in range(5)}
    assert links[0]["aria-label"]
    kinds = [link["class"] for link in links]
    assert kinds.count("point chosen") == kinds.count("point dominated") == 2
    text = re.sub(r"\s+", " ", page.text)
    assert "4. ONNX dynamic-int8 474 kB 9.62" in text
    assert "not written missed beaten by 1 tried because: dynamic-int8 is quick to make" in text
    assert "not taken because: misses host_latency_p95_ms" in text
    assert "1 of 3 layers stay in float, where static-int8 costs most: fc" in text
    assert "1 candidate not made OpenVINO static-int8: edgeglm[openvino] is not installed" in text
    assert "fc 0.31 kept in float" in text
    assert text.count("model.none.onnx") == 0


def test_bytes_by_type_and_layer_and_time_by_operator_are_told() -> None:
    text = re.sub(r"\s+", " ", Page(render_html(rich_report())).text)
    assert "layer3.1.conv 300 kB float32" in text
    assert "32 more layers 140 kB" in text
    assert "Conv (55) 3.6 ms, 86 %" in text
    silent = rich_report()
    tflite = [msgspec.structs.replace(side, operator_ms=[]) for side in silent.artifacts]
    text = Page(render_html(msgspec.structs.replace(silent, artifacts=tflite))).text
    assert "The runtime of ONNX static-int8 mixed does not tell operators apart." in text


def test_operators_that_add_up_to_far_more_than_the_latency_are_shares_alone() -> None:
    run = rich_report()
    assert run.baseline.latency_ms is not None
    quick = msgspec.structs.replace(run.baseline.latency_ms, p50=1.4)  # the profiler's times are 4.21 ms
    rough = msgspec.structs.replace(run, baseline=msgspec.structs.replace(run.baseline, latency_ms=quick))
    text = re.sub(r"\s+", " ", Page(render_html(rough)).text)
    assert "Conv (55): 86 %; Relu (55): 10 %" in text
    assert "add up to 3.0 times the latency, so they are shares alone" in text


def test_a_line_of_the_budget_is_named_once_and_a_warning_of_the_baseline_is_the_baselines() -> None:
    run = rich_report()
    told = {"artifact": run.artifacts[0].path, "limit": 0.01, "measured": 0.0}
    chance = Verdict(key="budget.metric_drop", message="model.onnx: `budget.metric_drop` proves nothing", **told)
    counted = Verdict(key="budget.metric_drop", message="model.onnx: accuracy lost 2 points", **told)
    slow = "XNNPACK takes over nothing on this host"
    run = msgspec.structs.replace(
        run,
        baseline=msgspec.structs.replace(run.baseline, warnings=[slow]),
        budget=BudgetResult(met=None, undecided=[chance, counted]),
    )
    text = re.sub(r"\s+", " ", Page(render_html(run)).text)
    assert "undecided model.onnx: budget.metric_drop proves nothing" in text
    assert "undecided budget.metric_drop model.onnx" in text
    assert f"The baseline: {slow}" in text


def test_slices_are_shown_worst_first_and_those_of_few_samples_are_not_judged() -> None:
    made = render_html(rich_report())
    text = re.sub(r"\s+", " ", Page(made).text)
    assert "1 of 5 have fewer than 30 samples and are not judged" in text
    chart = made.split('id="slices0-desc">')[1].split("<")[0]
    order = [part.split(" (")[0] for part in chart.split("; ")]
    assert order == ["light=night", "camera=south", "camera=north", "light=day", "weather=fog"]
    assert made.split('id="slices0-desc">')[1].split("</svg>")[0].count('class="dot lost"') == 1
    assert "Undisturbed 93.6 % 93.6 % 93.6 %" in text  # of each file its own
    assert "noise std=0.1 88.0 % 86.0 % \u22120.6 pt \u22122.1 to +0.9 pt" in text


def test_answers_that_changed_are_shown_as_they_look() -> None:
    made = render_html(rich_report())
    page = Page(made)
    assert "ONNX static-int8 mixed: 18 of 500 answers changed" in page.text
    assert "The pump is hot, and the valve" in page.text
    pictures = page.named("img")
    assert len(pictures) == 2
    assert all(picture["src"].startswith("data:image/png;base64,") and picture["alt"] for picture in pictures)
    assert made.count('class="series"') == 2
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "img-src data:" in policy
    assert "img-src" not in render_html(cifar_report())
    text = re.sub(r"\s+", " ", page.text)
    assert "Should be cat Before cat 61 % Now \u2717 dog 93 %" in text


def test_an_answer_may_be_another_sample_or_a_picture() -> None:
    made = render_html(embedding_report())
    text = re.sub(r"\s+", " ", Page(made).text)
    assert "12 of 157 nearest neighbours changed" in text
    assert "The 3 that tell most: the largest change first." in text
    assert "Before The valve was quiet. nearest: sample 7, cosine 0.713" in text
    assert "Now A pump that runs hot" in text
    assert "cosine of its vector to the original's 0.9812" in text
    assert {picture["alt"] for picture in Page(made).named("img")} == {
        "sample 9, as it should be",
        "sample 9, before",
        "sample 9, now",
    }
    assert "img-src data:" in made
    assert [box["class"] for box in Page(made).named("rect") if box.get("class") in ("gone", "new", "same")] == [
        "same",
        "new",
        "gone",
        "gone",
    ] * len(embedding_report().artifacts)
    none = msgspec.structs.replace(embedding_report().artifacts[0], changed=[], changed_count=0)
    unchanged = msgspec.structs.replace(embedding_report(), artifacts=[none])
    assert "none of 157 nearest neighbours changed." in Page(render_html(unchanged)).text


def test_agreement_is_told_in_what_the_task_decides() -> None:
    def cell(parity: Parity, **changes: Any) -> str:
        found = digits_report()
        artifact = msgspec.structs.replace(found.artifacts[0], parity=parity, **changes)
        page = render_html(msgspec.structs.replace(found, artifacts=[artifact]))
        return re.sub(r"\s+", " ", Page(page.split('data-label="Agreement"')[2].split("</td>")[0]).text)

    known: dict[str, Any] = {"samples": 9, "max_abs": 1.0, "max_ref": 2.0, "argmax_agreement": 0.984, "passed": True}
    boxes = [ClassResult(label="cat", n=30, metric="average_precision", value=0.5)]
    assert "same answer 98.4 %" in cell(Parity(cosine=0.99, **known))  # an older report, of classes
    assert "same" not in cell(Parity(cosine=0.99, **known), per_class=boxes)
    assert "same answer 98.4 %" in cell(Parity(cosine=None, answers="samples", error_share=0.013, **known))
    assert "same class 98.4 % of pixels" in cell(Parity(cosine=0.99, answers="pixels", **known), per_class=boxes)
    numbers = cell(Parity(cosine=None, error_share=0.0134, **known))
    assert "same" not in numbers
    assert "error 1.3 % of variance" in numbers
    assert "cosine" not in numbers


def test_a_file_that_answers_otherwise_says_by_how_much() -> None:
    wrong = Parity(samples=256, max_abs=1, max_ref=1, cosine=None, error_share=0.43, argmax_agreement=0, passed=False)
    assert outputs_differ(wrong).endswith("a squared error of 43 % of what they vary by (on 256 samples)")
    classes = msgspec.structs.replace(wrong, answers="samples", argmax_agreement=0.81, error_share=1.5)
    assert "the same answer for 81.0 % of the samples, a squared error of as much as" in outputs_differ(classes)
    assert "not finite" in outputs_differ(msgspec.structs.replace(wrong, max_abs=None, error_share=None))


def test_false_alarms_at_the_recipes_own_limit_stand_beside_the_wanted_rate() -> None:
    alarms = AlarmRate(
        limit=0.8, false_alarms=20, normal=180, rate=20 / 180, ci95=(0.073, 0.165), wanted=0.05, detection_rate=1.0
    )
    found = digits_report()
    artifact = msgspec.structs.replace(found.artifacts[0], alarms=alarms)
    text = re.sub(r"\s+", " ", Page(render_html(msgspec.structs.replace(found, artifacts=[artifact]))).text)
    assert "False alarms at the recipe's limit 0.8: 11.1 % of 180; 5 % asked for" in text
    said = alarms_doubt(alarms, {"threshold": 0.9})
    assert said.startswith("too many false alarms: the limit 0.8 in the recipe's `postprocess` raises one for 11.1 %")
    assert "95 % interval 7.3 to 16.5 %" in said
    assert said.endswith("asks for 5 %; `threshold` of this file would be 0.9")
    assert not alarms_doubt(msgspec.structs.replace(alarms, wanted=0.1), {})
    assert not alarms_doubt(None, {})


def test_private_samples_are_not_shown_and_the_page_says_so() -> None:
    found = rich_report()
    private = msgspec.structs.replace(
        found,
        recipe=found.recipe | {"golden": {"source": "synthetic"}},
        samples={},
        artifacts=[msgspec.structs.replace(side, changed=[], changed_count=None) for side in found.artifacts],
    )
    page = Page(render_html(private))
    assert "No samples are shown" in page.text
    assert not page.named("img")


def test_warnings_say_what_to_do() -> None:
    text = re.sub(r"\s+", " ", Page(render_html(cifar_report())).text)
    assert "they were left out of training Nothing: they were taken out." in text


def test_a_page_stays_small() -> None:
    assert len(render_html(rich_report())) < 200_000
    assert len(render_html(wide_report(1000))) < 1_000_000


def test_a_budget_of_slices_alone_is_shown_with_the_slice_that_lost_most() -> None:
    found = rich_report()
    only = msgspec.structs.replace(found, recipe=found.recipe | {"budget": {"per_slice_drop": 0.05}})
    text = re.sub(r"\s+", " ", Page(render_html(only)).text)
    assert "change of the metric in the slice that lost most budget.per_slice_drop 5 pt worse" in text
    assert "6.0 pt worse" in text
    assert "No budget set" not in text


def test_a_candidate_that_was_not_timed_to_the_end_says_so() -> None:
    rich = rich_report()
    last = rich.artifacts[-1]
    assert "as far as it took" not in Page(render_html(rich)).text
    short = msgspec.structs.replace(
        rich, artifacts=[*rich.artifacts[:-1], msgspec.structs.replace(last, outpaced=True)]
    )
    assert "timed in 200 runs, as far as it took to see that another is faster" in Page(render_html(short)).text


def test_the_files_that_were_written_are_told_from_those_that_were_tried() -> None:
    text = Page(render_html(rich_report())).text
    assert "2 files written (4 tried)" in text
    assert "of 4 files" not in text
