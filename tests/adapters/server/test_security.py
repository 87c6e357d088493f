"""To whom the page shows what, and that looking changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.adapters.versions import needs_store

from .test_page import BASE, get, ids_in, number_called

if TYPE_CHECKING:
    from tests.support.waits_rows import Rows

    from .conftest import Client

pytestmark = needs_store

ROUTES = (
    "/",
    "/rows",
    "/totals",
    "/wait/{wait_id}",
    "/wait/{wait_id}?part=true",
    "/wait/{wait_id}/actions",
    "/reconciler",
    "/run/alpha_child/child",
    "/task/alpha/trigger/-1/run",
    "/count",
    "/count?dag_id=a&child_dag_id=a",
    "/export.csv",
    "/export.json",
    "/api/waits",
    "/api/waits/{wait_id}",
    "/api/totals",
    "/api/metrics",
    "/static/waits.css",
    "/static/main.js",
    "/static/theme.js",
    "/static/icon.svg",
)
SCRIPT = "<script>alert(1)</script>"
METHODS = ("POST", "PUT", "PATCH", "DELETE")


def test_anonymous_caller_gets_401(application: Client, rows: Rows) -> None:
    wait_id = rows.wait()
    anonymous, forger = application(None), application(None)
    forger.headers["Authorization"] = "Bearer forged"
    for route in ROUTES:
        path = BASE + route.format(wait_id=wait_id)
        response = anonymous.get(path)
        assert response.status_code == 401, route
        assert "alpha" not in response.text, route
        assert forger.get(path).status_code in {401, 403}, route
        assert application("admin").get(path).status_code == 200, route


def test_every_route_is_among_those_tested() -> None:
    from airflow_durable.server.app import make_app

    routes = {getattr(route, "path", "") for route in make_app("").routes}
    tested = {
        "/",
        "/rows",
        "/count",
        "/totals",
        "/wait/{wait_id}",
        "/run/{dag_id}/{run_id:path}",
        "/task/{dag_id}/{task_id}/{map_index}/{run_id:path}",
        "/static/{name}",
        "/export.csv",
        "/export.json",
        "/api/waits",
        "/api/waits/{wait_id}",
        "/api/totals",
        "/api/metrics",
        "/wait/{wait_id}/actions",
        "/reconciler",
    }
    # What asks by a parent's names, and what acts: test_actions.py.
    acting = {"/actions", "/wait/{wait_id}/actions/{action}"}
    assert routes == tested | acting


def test_user_without_the_role_gets_403(application: Client, rows: Rows) -> None:
    wait_id = rows.wait()
    for route in ROUTES:
        response = application("nobody").get(BASE + route.format(wait_id=wait_id))
        assert response.status_code == 403, route
        assert "alpha" not in response.text, route


@pytest.mark.parametrize("method", METHODS)
def test_nothing_can_be_changed(application: Client, rows: Rows, method: str) -> None:
    wait_id, client = rows.wait(), application("admin")
    for route in ROUTES:
        assert client.request(method, BASE + route.format(wait_id=wait_id)).status_code == 405, route


def test_no_request_writes(application: Client, rows: Rows) -> None:
    wait_id = rows.wait(decisions=("fresh_submit", "reconnect"))
    statements: list[str] = []
    engine = rows.session.get_bind()

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]).lstrip().upper())

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        for route in ROUTES:
            get(application, route.format(wait_id=wait_id))
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert statements
    assert {statement.split()[0] for statement in statements} <= {"SELECT", "PRAGMA"}


def test_unreadable_parent_is_as_if_it_were_not_there(application: Client, rows: Rows) -> None:
    seen = rows.wait("alpha", "run")
    secret = rows.wait("secret", "secret_run", child=("alpha_child", "c2"), decisions=("fresh_submit", "reconnect"))
    limited = application("limited")
    assert ids_in(get(application, "/", "limited")) == [seen]
    for path in (
        "/",
        "/rows",
        "/rows?dag_id=secret",
        "/rows?recovered=true",
        "/rows?child_dag_id=alpha_child",
        "/totals",
        "/run/alpha_child/c2",
    ):
        html = limited.get(BASE + path).text
        assert ids_in(html) in ([], [seen])
        # What was asked for is given back in the filter's field, and nowhere else.
        assert "secret" not in html.replace('value="secret"', "")
    hidden, absent = limited.get(f"{BASE}/wait/{secret}"), limited.get(f"{BASE}/wait/{secret + 1000}")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text == absent.text
    hidden, absent = limited.get(f"{BASE}/run/secret/secret_run"), limited.get(f"{BASE}/run/no_such_dag/secret_run")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text == absent.text


def test_unreadable_child_is_not_named(application: Client, rows: Rows) -> None:
    wait_id = rows.wait("alpha", "run", child=("secret_child", "secret_run"), decisions=("fresh_submit", "reconnect"))
    for path in (
        "/",
        "/rows",
        f"/wait/{wait_id}",
        f"/wait/{wait_id}?part=true",
        "/run/alpha/run",
        "/task/alpha/trigger/-1/run",
        "/totals",
        "/rows?sort=child",
        "/rows?state=waiting&sort=-duration",
        "/rows?state=child_queued",
        "/export.csv",
        "/export.json",
        "/api/waits",
        f"/api/waits/{wait_id}",
        "/api/totals",
        "/api/metrics",
    ):
        html = get(application, path, "limited")
        assert "secret" not in html, path
    assert ids_in(get(application, "/rows", "limited")) == [wait_id]
    assert "A Dag that you may not read" in get(application, "/rows", "limited")
    # Nor does a filter tell whether the guess was right.
    assert get(application, "/rows?child_dag_id=secret_child", "limited") == get(
        application, "/rows?child_dag_id=secret_guess", "limited"
    )
    for field, name in (("child_dag_id", "secret_child"), ("run_id", "secret_run")):
        for path in ("/rows", "/count", "/api/waits", "/export.csv"):
            hit, miss = (get(application, f"{path}?{field}={text}", "limited") for text in (name, f"{name}_guess"))
            assert hit == miss, (path, field)
            assert get(application, f"{path}?{field}={name}") != get(application, f"{path}?{field}={name}_guess") or (
                path == "/count" and field == "run_id"
            )
    assert ids_in(get(application, "/rows?child_dag_id=secret_child")) == [wait_id]
    assert application("limited").get(f"{BASE}/run/secret_child/secret_run").status_code == 404


def test_totals_are_of_readable_dags(application: Client, rows: Rows) -> None:
    rows.wait("alpha", "r1", decisions=("fresh_submit", "reconnect"))
    rows.wait("alpha", "r2", child=("secret_child", "c2"), decisions=("fresh_submit", "reconnect"))
    rows.wait("secret", "r3", child=("alpha_child", "c3"), decisions=("fresh_submit", "reconnect"))
    names = ("Waiting now", "Recovered", "Duplicates avoided", "Child work not repeated", "Recorded waits")
    # The admin is asked for first: what is counted for one user is not what another one sees.
    for user, expected in (("admin", ["3", "3", "3", "30 min", "3"]), ("limited", ["2", "2", "2", "10 min", "2"])):
        html = get(application, "/totals", user)
        assert [number_called(html, name) for name in names] == expected, user
    assert "secret" not in get(application, "/totals", "limited")


def test_names_are_escaped(application: Client, rows: Rows) -> None:
    wait_id = rows.wait(
        SCRIPT, SCRIPT, child=(SCRIPT, f"{SCRIPT}0"), task_id=SCRIPT, decisions=("fresh_submit", "reconnect")
    )
    rows.wait("alpha", "x", child=("alpha_child", "y"), state='"><img src=x>')
    for path in (
        "/",
        "/rows",
        "/totals",
        f"/wait/{wait_id}",
        f"/wait/{wait_id}?part=true",
        "/task/%3Cscript%3Ealert(1)%3C/script%3E/x/-1/run",
    ):
        html = application("admin").get(f"{BASE}{path}").text
        assert SCRIPT not in html, path
        assert "<img" not in html, path
    html = get(application, "/rows")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert 'href="/dags/%3Cscript%3Ealert%281%29%3C%2Fscript%3E"' in html
    reflected = get(application, "/?dag_id=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert SCRIPT not in reflected
    for field in ("child_dag_id", "task_id", "run_id", "state", "decision", "mode", "from", "sort", SCRIPT):
        for path in ("/", "/rows", "/api/waits"):
            response = application("admin").get(f"{BASE}{path}", params={field: SCRIPT})
            assert SCRIPT not in response.text or response.headers["content-type"] == "application/json", (path, field)


def test_spreadsheet_does_not_take_a_name_for_a_formula(application: Client, rows: Rows) -> None:
    rows.wait(task_id="=1+1", child=("alpha_child", "@cmd"))
    lines = get(application, "/export.csv").splitlines()
    assert ",'=1+1," in lines[1]
    assert ",'@cmd," in lines[1]


def test_anonymous_caller_learns_nothing_from_a_wrong_address(application: Client, rows: Rows) -> None:
    assert application(None).get(f"{BASE}/?sort=nothing").status_code == 401
    assert application("nobody").get(f"{BASE}/?sort=nothing").status_code == 403


def test_every_answer_has_the_headers(application: Client, rows: Rows) -> None:
    rows.wait()
    for client, path in ((application("admin"), "/"), (application("admin"), "/nothing"), (application(None), "/")):
        headers = client.get(BASE + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"].startswith("private")


def test_page_asks_nobody_else_for_anything(application: Client, rows: Rows) -> None:
    from pathlib import Path

    import airflow_durable.server
    from airflow_durable.server.app import _STATIC

    wait_id = rows.wait()
    files = [*(Path(airflow_durable.server.__file__).parent / "static").iterdir()]
    assert {file.name for file in files} == set(_STATIC)
    texts = [file.read_text() for file in files]
    texts += [get(application, path) for path in ("/", "/totals", f"/wait/{wait_id}")]
    for text in texts:
        assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_no_conf_is_shown(application: Client, rows: Rows) -> None:
    rows.run("alpha_child", "child", conf={"password": "hunter2"})
    wait_id = rows.wait(child_state=None)
    for path in ("/", f"/wait/{wait_id}", "/run/alpha_child/child", "/export.json", f"/api/waits/{wait_id}"):
        html = get(application, path)
        assert "hunter2" not in html
        assert "sha256:" not in html
