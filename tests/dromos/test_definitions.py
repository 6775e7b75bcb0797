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


def test_yaml_may_hold_several_documents_and_its_dates_are_text(tmp_path):
    text = "id: /a\nenv: {DAY: 2024-01-01}\n---\n- id: /b\n- {id: /p, containers: []}\n---\n"
    found = load((write(tmp_path, "two.yml", text),))
    assert found.app_ids() == ("/a", "/b") and found.pod_ids() == ("/p",)
    assert found.apps[0]["env"] == {"DAY": "2024-01-01"}


def test_folders_below_are_read_and_hidden_ones_are_not(tmp_path):
    for name in ("a/1.json", "a/b/2.yaml", "a/.git/3.json", "a/.4.json"):
        write(tmp_path, name, f'{{"id": "/app-{name.split("/")[-1].split(".")[0] or "x"}"}}')
    assert load((str(tmp_path / "a"),)).app_ids() == ("/app-1", "/app-2")


def test_an_app_that_two_files_define_is_refused(tmp_path):
    one, two = (write(tmp_path, name, '{"id": "twice"}') for name in ("one.json", "two.json"))
    with pytest.raises(CommandError, match="defined more than once: /twice"):
        load((one, two))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: /a\n  cmd: x: y", "app.yaml, line 2, column 6: "),
        ("a: !!python/object:os.system {}", "app.yaml, line 1, column 4: "),
        ("id: /a\n1: x", "app.yaml: not to be said in JSON: "),
        ("apps: [3]", "app.yaml: what a group holds are JSON objects, not int"),
        ("&a [*a]", "app.yaml: "),
    ],
)
def test_a_mistake_in_yaml_is_named_with_its_place(tmp_path, text, message):
    with pytest.raises(CommandError) as caught:
        load((write(tmp_path, "app.yaml", text),))
    assert message in str(caught.value)


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
