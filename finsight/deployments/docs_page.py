"""The documentation of the routes as one page that needs no internet."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

router = APIRouter(include_in_schema=False)


@router.get("/")
async def to_the_documentation() -> RedirectResponse:
    return RedirectResponse("/docs")


@router.get("/docs")
async def documentation() -> HTMLResponse:
    """Every route, read from /openapi.json by the page itself."""
    page = files("finsight.deployments").joinpath("docs_page.html").read_text("utf-8")
    return HTMLResponse(page)


@router.get("/docs/swagger")
async def swagger() -> HTMLResponse:
    """Swagger UI, for whoever has internet: its scripts come from a CDN."""
    return get_swagger_ui_html(openapi_url="/openapi.json", title="FinSight")
