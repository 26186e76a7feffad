"""The page and the tables: what was measured is on them, peaks included."""

from bench.report import Plot, write
from bench.table import Sheet, _table


def test_a_page_has_its_figures_and_plots(tmp_path):
    page = tmp_path / "reports" / "page.html"
    plots = [
        Plot("Ticks", {"run 1": [1.0] * 5000, "run <2>": [0.5, 3.0]}),
        Plot("Latency", {"run 1": [5.0, 6.0]}, distribution=True),
        Plot("Nothing", {"run 1": []}),
    ]
    write(page, "crowd & co", {"hz": 19.9994, "clients": 12345, "reasons": ["left out"]}, plots)
    text = page.read_text()
    assert text.count("<polyline") == 3
    assert "Nothing was measured." in text
    assert "crowd &amp; co" in text
    assert "run &lt;2&gt;" in text
    assert "19.999" in text
    assert "left out" not in text
    # No more points than there are pixels, and the highest of those left out is kept.
    assert max(len(line.split(" ")) for line in text.split("points=") if line[0] == '"') < 1000


def test_a_peak_is_never_left_out(tmp_path):
    series = [1.0] * 3000
    series[1717] = 7.5
    write(tmp_path / "page.html", "peak", {}, [Plot("Ticks", {"run": series})])
    text = (tmp_path / "page.html").read_text()
    line = text.split('points="')[1].split('"')[0]
    heights = {float(point.split(",")[1]) for point in line.split(" ")}
    assert len(heights) == 2


def test_a_table_has_a_line_per_key_and_a_column_per_run():
    text = _table({"a": {"hz": 20.0, "n": 3}, "b": {"hz": 12345.6}}, ["hz", "n"])
    assert text.splitlines() == [
        "|  | a | b |",
        "| --- | ---: | ---: |",
        "| `hz` | 20.00 | 12,346 |",
        "| `n` | 3 | - |",
    ]


def test_a_sheet_begins_without_failures():
    assert Sheet(1.0, 1, peers=False).failures == []
