"""docs/routes.md says every route there is, and none that isn't."""

import re
from pathlib import Path

from tests.unit.http_platform import running

PAGE = Path(__file__).parents[1] / "docs" / "routes.md"
LINE = re.compile(r"^\| `(GET|POST|PUT|DELETE) (/\S*)` \|", re.MULTILINE)


async def test_the_page_lists_the_routes_of_the_application(settings):
    async with running(settings) as platform:
        api = platform.app.openapi()
    real = {(method.upper(), path) for path, methods in api["paths"].items() for method in methods}
    listed = set(LINE.findall(PAGE.read_text()))
    assert listed == real
