import io
import sys

import pytest

from dromos.definitions import load
from dromos.errors import CommandError


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_file_may_hold_an_app_a_list_of_apps_or_a_group(tmp_path):
    app = write(tmp_path, "app.json", '{"id": "/a", "cmd": "true"}')
    apps = write(tmp_path, "apps.json", '[{"id": "b"}, {"id": "/c/d"}]')
    group = write(
        tmp_path,
        "group.json",
        '{"id": "/shop", "apps": [{"id": "web"}], "groups": [{"id": "db", "apps": [{"id": "/shop/db/main"}]}]}',
    )
    found = load((app, apps, group))
    assert [item["id"] for item in found.apps] == ["/a", "b", "/c/d"]
    assert [item["id"] for item in found.groups] == ["/shop"]
    assert found.app_ids() == ("/a", "/b", "/c/d", "/shop/web", "/shop/db/main")


def test_a_folder_gives_its_json_files_in_order(tmp_path):
    write(tmp_path, "folder/2.json", '{"id": "/second"}')
    write(tmp_path, "folder/1.json", '{"id": "/first"}')
    write(tmp_path, "folder/notes.txt", "not an app")
    assert load((str(tmp_path / "folder"),)).app_ids() == ("/first", "/second")


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"id": "/piped"}')))
    assert load(("-",)).app_ids() == ("/piped",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "/a",\n "cmd": }', "app.json, line 2, column 9: "),
        ("[1]", "app.json: an app or a group is a JSON object, not int"),
        ('{"cmd": "true"}', 'app.json: the app has no id; add "id": "/name"'),
        ("[]", "no app definition in "),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, message):
    path = write(tmp_path, "app.json", text)
    with pytest.raises(CommandError) as caught:
        load((path,))
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"nowhere\.json cannot be read: No such file or directory"):
        load((str(tmp_path / "nowhere.json"),))
