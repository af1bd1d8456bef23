"""Writes are atomic, and what is wrong with a file is reported in one line."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fgsn.errors import FgsnError
from fgsn.files import (
    FolderLock,
    as_path,
    atomic_write,
    inside,
    natural_order,
    read_json,
    read_lines,
    read_text,
    read_yaml,
    require_output,
    write_json,
    write_text,
    write_yaml,
)


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic_write(path) as aside:
        aside.write_text("new")
        assert not path.exists()
        assert aside.parent == path.parent
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("failure", [ValueError("x"), KeyboardInterrupt(), FgsnError("x")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write():
        with atomic_write(path) as aside:
            aside.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("place", ["write", "fsync", "replace"])
def test_a_full_disk_at_any_moment_is_reported_and_leaves_nothing(tmp_path, monkeypatch, place):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    if place == "write":
        monkeypatch.setattr(Path, "write_text", full)
    elif place == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FgsnError, match=f"^cannot write {path}: No space left on device$"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_it_is_flushed_to_disk_before_it_is_renamed(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("fsync"), fsync(file))[1])
    monkeypatch.setattr(Path, "replace", lambda path, target: (order.append("replace"), replace(path, target))[1])
    write_text(tmp_path / "file.txt", "new")
    assert order == ["fsync", "replace"]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FgsnError, match=f"^cannot make the folder {tmp_path}/file/sub: Not a directory$"):
        write_text(tmp_path / "file" / "sub" / "a.txt", "new")
    with pytest.raises(FgsnError, match=r"^cannot make the folder .*/file: File exists$"):
        write_text(tmp_path / "file" / "a.txt", "new")


def test_permissions_are_the_usual_ones(tmp_path):
    (tmp_path / "usual").write_text("")
    write_text(tmp_path / "ours", "")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")}
    assert len(modes) == 1


def test_json_and_yaml_come_back(tmp_path):
    data = {"text": "Straße", "list": [1, 2.5, None, True], "nested": {"b": 1, "a": 2}}
    write_json(tmp_path / "a.json", data)
    write_yaml(tmp_path / "a.yaml", data)
    assert read_json(tmp_path / "a.json") == read_yaml(tmp_path / "a.yaml") == data
    assert list(read_json(tmp_path / "a.json")["nested"]) == ["b", "a"]
    assert "Straße" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_numpy_values_and_paths_are_written_as_json(tmp_path):
    write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.float32(0.5), "v": np.arange(3), "p": Path("a/b")})
    assert read_json(tmp_path / "a.json") == {"n": 3, "x": 0.5, "v": [0, 1, 2], "p": "a/b"}
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        write_json(tmp_path / "b.json", {"what": object()})
    assert not (tmp_path / "b.json").exists()


def reported(call, path):
    with pytest.raises(FgsnError) as error:
        call(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_read_is_reported_in_one_line(tmp_path):
    assert "does not exist" in reported(read_text, tmp_path / "none")
    assert "Is a directory" in reported(read_text, tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\x00")
    assert "is not a text file" in reported(read_text, tmp_path / "bytes")
    (tmp_path / "broken").write_text('{"a": [1,\n 2')
    assert "is not valid JSON" in reported(read_json, tmp_path / "broken")
    (tmp_path / "broken").write_text("a: [1,\n b: }")
    assert "is not valid YAML" in reported(read_yaml, tmp_path / "broken")
    (tmp_path / "list").write_text("[1, 2]")
    assert "should contain a JSON mapping (key: value), but contains list" in reported(read_json, tmp_path / "list")
    assert "should contain a YAML mapping" in reported(read_yaml, tmp_path / "list")
    (tmp_path / "empty").write_text("")
    assert "empty is empty" in reported(read_yaml, tmp_path / "empty")


def test_yaml_executes_nothing(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text(f"a: !!python/object/apply:os.system ['touch {tmp_path}/touched']")
    assert "is not valid YAML" in reported(read_yaml, path)
    assert not (tmp_path / "touched").exists()


def test_lines_without_blank_ones_and_comments(tmp_path):
    (tmp_path / "list.txt").write_text("# images\n a.png \n\n#b.png\nc d.png\r\n")
    assert read_lines(tmp_path / "list.txt") == ["a.png", "c d.png"]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "..", "a/../../b", "..\\b", "C:\\b", "\\b", "a\0b"])
def test_stored_paths_that_leave_their_root_are_refused(path):
    with pytest.raises(FgsnError, match="it leaves its root folder root"):
        inside("root", path)


def test_stored_paths_stay_below_their_root():
    assert inside("root", "a/b..c/d.png") == Path("root/a/b..c/d.png")
    assert inside("root", "a\\b.png") == Path("root/a/b.png")


def test_the_json_of_a_file_is_for_people_too(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "a.json").read_text() == json.dumps({"a": 1}, indent=2) + "\n"


def test_numbers_in_names_are_compared_by_value():
    names = ["frame10", "a2b10", "frame9", "a2b9", "10", "a", "9a", "frame"]
    assert sorted(names, key=natural_order) == ["9a", "10", "a", "a2b9", "a2b10", "frame", "frame9", "frame10"]


def test_a_folder_is_locked_by_one_process_and_released_when_it_ends(tmp_path):
    script = (
        "import sys; from pathlib import Path; from fgsn.files import FolderLock; "
        "lock = FolderLock(Path(sys.argv[1])); print(lock.lock_exclusively(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"True\n"
        (tmp_path / ".a.png.0123456789ab.part").write_text("half")
        assert not FolderLock(tmp_path).lock_exclusively()
        assert (tmp_path / ".a.png.0123456789ab.part").exists()
        other.kill()
    assert FolderLock(tmp_path).lock_exclusively()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_only_temporary_files_of_our_own_are_removed_and_none_of_a_nested_command(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".lock").touch()
    ours, others = f".a.png.{'0' * 12}.part", (".movie.mkv.part", ".a.part", f".b.png.{'g' * 12}.part")
    for name in (ours, *others, f"sub/{ours}"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".folder.{'1' * 12}.part").mkdir()
    assert FolderLock(tmp_path).lock_exclusively()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.part")}
    assert left == {*others, f"sub/{ours}", f".folder.{'1' * 12}.part"}


@pytest.mark.parametrize("ends", [True, False])
def test_what_a_killed_writer_left_is_removed_when_the_same_file_is_written_again(tmp_path, ends):
    script = (
        "import sys; from pathlib import Path; from fgsn.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half'); print('there', flush=True); sys.stdin.read()"
    )
    others = {".movie.mkv.part", ".poses.txt.part", f".other.txt.{'0' * 12}.part", "poses.txt"}
    for name in others:
        (tmp_path / name).write_text("not ours")
    command = [sys.executable, "-c", script, tmp_path / "poses.txt"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"there\n"
        if ends:
            other.kill()
            other.wait()
        parts = {path.name for path in tmp_path.iterdir()} - others
        assert len(parts) == 1
        write_text(tmp_path / "poses.txt", "new")
        assert {path.name for path in tmp_path.iterdir()} == others | (set() if ends else parts)
        FolderLock(tmp_path).require()
        # A command that owns the folder removes what is left of all files, and nothing that lives or is not ours.
        left = {path.name for path in tmp_path.iterdir()} - {".lock"}
        assert left == others - {f".other.txt.{'0' * 12}.part"} | (set() if ends else parts)
        other.communicate()
    assert (tmp_path / "poses.txt").read_text() == ("new" if ends else "half")


def test_a_file_is_written_where_there_are_no_locks(tmp_path, monkeypatch):
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / f".a.txt.{'0' * 12}.part").write_text("perhaps alive")
    write_text(tmp_path / "a.txt", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", f".a.txt.{'0' * 12}.part"}


def test_long_names_are_written(tmp_path):
    for name in ("x" * 250, "雪" * 80):
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "it is empty"),
        ("a" * 300, "it is too long"),
        ("a/" * 3000, "it is too long"),
        ("a\0b", "characters that the system does not allow"),
        (None, "NoneType"),
        (3, "int"),
    ],
)
def test_what_is_not_the_path_of_a_file_is_refused_by_all_that_reads_or_writes(path, why):
    for use in (as_path, read_text, read_json, read_yaml, lambda path: write_text(path, "")):
        with pytest.raises(FgsnError, match=f"is not the path of a file: .*{why}"):
            use(path)


def test_a_folder_is_no_name_to_write_to(tmp_path):
    for path in (Path(), tmp_path):
        with pytest.raises(FgsnError, match="cannot write"):
            write_text(path, "")
    assert not list(tmp_path.iterdir())


def test_an_output_is_no_folder_and_no_input(tmp_path):
    (tmp_path / "list.txt").write_text("x")
    require_output(tmp_path / "new" / "out.txt", [tmp_path / "list.txt", tmp_path / "missing"])
    with pytest.raises(FgsnError, match="is a folder"):
        require_output(tmp_path, [])
    with pytest.raises(FgsnError, match=r"list\.txt is a file, not a folder"):
        require_output(tmp_path / "list.txt" / "a" / "out.txt", [])
    for folder in (tmp_path / "list.txt", tmp_path / "list.txt" / "out"):
        with pytest.raises(FgsnError, match=r"list\.txt is a file, not a folder"):
            require_output(folder)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for link in ("nowhere", "loop"):
        for given in (None, []):
            with pytest.raises(FgsnError, match="is a link to nothing"):
                require_output(tmp_path / link / "below", given)
    with pytest.raises(FgsnError, match="is a link to nothing"):
        require_output(tmp_path / "nowhere")
    with pytest.raises(FgsnError, match="is not a file"):
        require_output(Path(os.devnull), [])
    with pytest.raises(FgsnError, match="cannot write to"):
        require_output(tmp_path / ("x" * 300))
    require_output(tmp_path)
    require_output(tmp_path / "new" / "folder")
    with pytest.raises(FgsnError, match="would replace a file that is read"):
        require_output(tmp_path / "list.txt", [tmp_path / "list.txt"])


def test_names_of_files_that_are_not_utf8_are_told(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    with pytest.raises(FgsnError, match=r"cannot write .*list.txt: '.*caf.*' is not a name in UTF-8; rename the file"):
        write_text(tmp_path / "list.txt", f"a.jpg\n{name}\n")
    assert not list(tmp_path.iterdir())


def test_text_of_other_editors(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffa.png\r\nb\u2028c.png\r\n".encode())
    assert read_lines(path) == ["a.png", "b\u2028c.png"]
    path.write_bytes("a.png\r\n".encode("utf-16"))
    assert "is UTF-16 text; save it as UTF-8" in reported(read_text, path)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (read_yaml, "clusters: 6\nclusters: 1\n", "the key 'clusters' is given twice"),
        (read_yaml, "train: {lr: 1, lr: 2}\n", "the key 'lr' is given twice"),
        (read_json, '{"a": {"b": 1, "b": 2}}', "the key 'b' is given twice"),
        (read_yaml, "a: &a {k: 1}\nb: {<<: *a}\n", "line 2: merge keys"),
        (read_yaml, "a: &a {k: 1}\nb: {<<: [*a, *a]}\n", "line 2: merge keys"),
    ],
)
def test_repeated_keys_and_merge_keys_are_refused(tmp_path, read, text, says):
    (tmp_path / "a").write_text(text)
    assert says in reported(read, tmp_path / "a")
