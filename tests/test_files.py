import pytest

from ctl_keras.errors import InputError
from ctl_keras.files import new_file, new_folder, read_json, sha256, write_json


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "a" / "out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "a" / "out").exists()
    assert (tmp_path / "a" / "out" / "file").read_text() == "x"

    def fail():
        with new_folder(tmp_path / "a" / "other") as folder:
            (folder / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]
    with pytest.raises(InputError, match="already exists"), new_folder(tmp_path / "a" / "out"):
        pass


def test_json(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"b": [1]})
    assert read_json(tmp_path / "deep" / "a.json", "The file") == {"b": [1]}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]


def test_a_file_that_two_write_at_once(tmp_path):
    path = tmp_path / "a"
    with new_file(path, alone=False) as one, new_file(path, alone=False) as other:
        one.write_text("the same")
        other.write_text("the same")
        assert not path.exists()
    assert path.read_text() == "the same"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
