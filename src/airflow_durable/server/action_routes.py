"""
The actions of :mod:`.actions` over HTTP, as JSON: GET shows what each would do, POST does one.

A page of another site can make a signed-in person's browser send a request with their cookie. It cannot read an
answer, nor send JSON or a header of its own without the server's leave (CORS, which Airflow does not give by default).
So a POST has to be JSON, with the header :data:`HEADER`, from our own page where the browser says from where; and it
has to bring the seal that only the answer to the GET has, made for this person and this situation.
"""

from __future__ import annotations

from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel
from fastapi import Body, FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse

from airflow_durable.metadata.asked import Asked
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server.access import DatabaseSession, ReadableDags, SignedInUser  # noqa: TC001 - FastAPI reads them
from airflow_durable.server.actions import (
    Action,
    NotPossibleError,
    Person,
    Situation,
    SituationChangedError,
    perform,
    plan_all,
    read_situation,
)
from airflow_durable.server.changes import DagUnknownError

HEADER = "X-Durable-Action"
_MAX_ID = 250
_REGION_DIGITS = 32
_OWN_SITE = frozenset({"same-origin", "none", None})

WaitId = Annotated[int, PathParameter(ge=0, lt=2**31)]


def add_routes(app: FastAPI) -> None:
    """Add the routes to the page's application. Only where Airflow keeps records (from 3.3)."""
    app.get("/actions")(find_actions)
    app.get("/wait/{wait_id}/actions")(show_actions)
    app.post("/wait/{wait_id}/actions/{action}")(do_action)


def find_actions(  # noqa: PLR0913, PLR0917 - what names a parent
    session: DatabaseSession,
    readable: ReadableDags,
    user: SignedInUser,
    dag_id: Annotated[str, Query(max_length=_MAX_ID)],
    run_id: Annotated[str, Query(max_length=_MAX_ID)],
    task_id: Annotated[str, Query(max_length=_MAX_ID)],
    map_index: Annotated[int, Query(ge=-1, lt=2**31)] = -1,
    call: Annotated[int, Query(ge=1, lt=2**31)] = 1,
    region: Annotated[str, Query(max_length=_REGION_DIGITS)] = "",
) -> JSONResponse:
    """Show what can be done about the wait of this parent; in nested loops (3.4) its region says which one it is."""
    by_region = Asked(load_tables(), session.execute).find(dag_id, run_id, task_id, map_index, call)
    found = [row_id for of_region, row_id in by_region.items() if region in {"", of_region}]
    if len(found) > 1 and dag_id in readable:
        regions = ", ".join(sorted(by_region))
        text = f"Several passes with that number wait, in these regions: {regions}. Add the region, or use the page."
        return _error(409, text)
    return show_actions(found[0], session, readable, user) if found else _missing()


def show_actions(wait_id: WaitId, session: DatabaseSession, readable: ReadableDags, user: SignedInUser) -> JSONResponse:
    """Show what can be done about a wait, and what each action would do. Nothing is changed."""
    situation = _read(session, readable, wait_id)
    if situation is None:
        return _missing()
    parent, record = situation.claim.parent, situation.claim.record
    is_shown = record.dag_id in readable
    plans = plan_all(session, situation, _person(user))
    answer = {
        "wait_id": wait_id,
        "parent": parent.to_json(),
        "child": {"dag_id": record.dag_id, "run_id": record.run_id} if is_shown else None,
        "child_state": situation.child[1].state if situation.child and is_shown else None,
        "actions": [_to_json(plan, is_shown=is_shown) for plan in plans],
    }
    return JSONResponse(answer)


def do_action(  # noqa: PLR0913, PLR0917 - FastAPI's
    wait_id: WaitId,
    action: Action,
    request: Request,
    session: DatabaseSession,
    readable: ReadableDags,
    user: SignedInUser,
    seal: Annotated[str, Body(embed=True, max_length=128)],
) -> JSONResponse:
    """Do what was shown, if everything still is as it was."""
    if refusal := _find_forgery(request, action):
        return _error(403, refusal)
    if _read(session, readable, wait_id) is None:
        return _missing()
    try:
        done = perform(wait_id, _person(user), action, seal)
    except SituationChangedError:
        return _error(409, "Something has changed since this was shown. Nothing was done. Check again.")
    except (NotPossibleError, DagUnknownError) as error:
        return _error(409, str(error))
    return JSONResponse({"done": done.action.value, "effects": list(done.effects)})


def _find_forgery(request: Request, action: Action) -> str:
    """Return why a request may come from another site's page; empty: it does not."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return "The request has to be JSON."
    if request.headers.get(HEADER) != action.value:
        return f"The request needs the header {HEADER}."
    if request.headers.get("sec-fetch-site") not in _OWN_SITE:
        return "The request comes from another site."
    return ""


def _read(session: Any, readable: frozenset[str], wait_id: int) -> Situation | None:  # noqa: ANN401 - a session
    situation = read_situation(session, wait_id)
    return situation if situation and situation.claim.parent.dag_id in readable else None


def _person(user: Any) -> Person:  # noqa: ANN401 - the auth manager's own
    """Ask the auth manager what it asks for the same thing of Airflow's own (3.3, ``core_api/routes/public``)."""

    def may(method: str, entity: DagAccessEntity, dag_id: str) -> bool:
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        manager = get_auth_manager()
        return bool(manager.is_authorized_dag(method=method, access_entity=entity, details=details, user=user))  # type: ignore[arg-type] # a method

    return Person(
        name=str(user.get_name()),
        may_change=lambda dag_id: may("PUT", DagAccessEntity.RUN, dag_id),
        may_change_tasks=lambda dag_id: may("PUT", DagAccessEntity.TASK_INSTANCE, dag_id),
        may_delete_records=lambda dag_id: may("DELETE", DagAccessEntity.TASK_INSTANCE, dag_id),
    )


def _to_json(plan: Any, *, is_shown: bool) -> dict[str, Any]:  # noqa: ANN401 - a plan
    refusal = plan.refusal if is_shown or plan.action is Action.FORGET else "You may not read the child's Dag."
    is_possible = not refusal
    return {
        "action": plan.action.value,
        "is_possible": is_possible,
        "refusal": refusal,
        "effects": list(plan.effects) if is_possible else [],
        "seal": plan.seal if is_possible else "",
    }


def _missing() -> JSONResponse:
    # The same for one that is not there and for one that may not be seen.
    return _error(404, "There is no such wait, or you may not read its Dag.")


def _error(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status)
