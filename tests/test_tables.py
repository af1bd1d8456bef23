"""Results as tables, for people."""

from fgsn.tables import show


def test_a_table_that_is_too_wide_goes_on_below(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    conditions = {f"condition-{n}": {f"figure_{k}": n + k / 1000 for k in range(20)} for n in range(9)}
    path = "/".join(f"folder_{n}" for n in range(30))
    show({"model": path, "failed": ["[red]a", "b"], "conditions": conditions, "files": {"x": path}})
    model, *lines = capsys.readouterr().out.splitlines()
    assert model == f"model   {path}"
    assert lines[:2] == ["failed  [red]a", "        b"]
    assert max(map(len, lines)) <= 80
    assert all("…" not in line for line in lines)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    for k in range(20):
        cells = [cell for name, *cells in rows for cell in cells if name == f"figure_{k}"]
        assert cells == [f"{n + k / 1000:.3f}" for n in range(9)]
    assert sum(line.count("condition-") for line in lines) == 9
    assert "".join(row[-1] for row in rows).endswith(path)


def test_metrics_for_people(capsys):
    metrics = {"recall": [40.0, 100.0], "interval": [[16.82, 68.73], [72.25, 100.0]], "median_metres": None}
    show({"load": None, "information_bits_interval": [0.35, 0.4], "all": metrics})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines[:2]] == [
        ["load", "–"],
        ["information_bits_interval", "0.350–0.400"],
    ]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert rows == [["recall", "40.0 / 100.0"], ["interval", "17–69 / 72–100"], ["median_metres", "–"]]
