import json
import logging
import subprocess
import sys

import pytest

from daemonkit.logs import masked


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "x"}, {"password": "***"}),
        ({"DB_PASSWORD": "x", "host": "y"}, {"DB_PASSWORD": "***", "host": "y"}),
        ({"headers": {"Authorization": "token=abc"}}, {"headers": {"Authorization": "***"}}),
        ([{"api_key": "k"}], [{"api_key": "***"}]),
        ("http://admin:hunter2@db:80/x", "http://admin:***@db:80/x"),
        ("amqp://admin:hunt@er2@db/x y@z", "amqp://admin:***@db/x y@z"),
        ({"secret": None, "use_token": True}, {"secret": None, "use_token": True}),
        (7, 7),
    ],
)
def test_secrets_are_masked_wherever_they_stand(value, shown):
    assert masked(value) == shown


def test_records_of_both_kinds_are_json_lines_with_the_daemon_and_without_secrets():
    program = (
        "import logging\n"
        "from daemonkit import logs\n"
        "logs.configure(daemon='registrator', format='json')\n"
        "logs.get_logger('ours').info('hello', token='abc', port=1)\n"
        "logging.getLogger('theirs').warning('from %s', 'http://u:pw@h/')\n"
        "logs.get_logger('ours').debug('hidden')\n"
        "try:\n"
        "    raise ValueError('no answer of http://u:pw@h/')\n"
        "except ValueError:\n"
        "    logs.get_logger('ours').exception('broken')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["hello", "from http://u:***@h/", "broken"]
    assert "no answer of http://u:***@h/" in lines[2]["exception"] and "u:pw" not in done.stderr
    assert [list(line)[:5] for line in lines] == [["timestamp", "level", "daemon", "logger", "event"]] * 3
    assert lines[0]["token"] == "***" and lines[0]["port"] == 1 and lines[0]["level"] == "info"
    assert all(line["daemon"] == "registrator" and line["timestamp"].endswith("Z") for line in lines)
    assert logging.getLogger("ours").name == lines[0]["logger"]


def test_a_daemon_does_not_load_what_only_a_terminal_needs_and_others_still_may():
    program = (
        "import sys, daemonkit.logs; assert 'rich' not in sys.modules and 'pygments' not in sys.modules;"
        "import rich.console; daemonkit.logs.configure(daemon='x', format='text');"
        "daemonkit.logs.get_logger('y').error('told', exc_info=ValueError('why'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "told" in done.stderr and "ValueError: why" in done.stderr


@pytest.mark.parametrize("before", ["", "import rich\n", "import structlog\n"])
def test_a_traceback_for_people_shows_neither_variables_nor_passwords(before):
    """Whatever was loaded first: with rich, structlog would show what each frame's variables hold."""
    program = before + (
        "import logging\n"
        "from daemonkit import logs\n"
        "logs.configure(daemon='registrator', format='text')\n"
        "def call():\n"
        "    token = 'hun' + 'ter2'\n"
        "    raise ValueError('no answer of http://u:' + 'pw@h/')\n"
        "for log in (logs.get_logger('ours'), logging.getLogger('theirs')):\n"
        "    try:\n"
        "        call()\n"
        "    except ValueError:\n"
        "        log.exception('broken')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.count("no answer of http://u:***@h/") == 2
    assert "hunter2" not in done.stderr and "u:pw" not in done.stderr
