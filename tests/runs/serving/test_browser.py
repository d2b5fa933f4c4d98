"""The page in a real browser: what a person does with it, and that it stays on this machine."""

import base64
import json
import shutil
from pathlib import Path

import pytest

from tests.runs.serving.browser import Browser
from tests.runs.serving.conftest import Served

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here to show the page")

NAMES = "[...document.querySelectorAll('[data-part=results] .hit .name')].map((one) => one.textContent)"
TOLD = "document.querySelector('[data-part=results] .told')?.textContent"
ERROR = "document.querySelector('[data-part=results] .error:not([hidden])')?.textContent"
IDLE = "!document.querySelector('[data-part=results]').classList.contains('waiting')"
BACK = "!document.querySelector('.back').disabled"


@pytest.fixture(scope="module")
def opened(served: Served, tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    browser.open(f"http://127.0.0.1:{served.port}/?token={served.token}")
    browser.until(TOLD)
    yield browser
    browser.close()


@pytest.fixture
def page(opened: Browser, served: Served):
    """The page as it is at first."""
    tab(opened, "Search")
    opened.run("history.replaceState(null, '')")
    opened.open(f"http://127.0.0.1:{served.port}/")
    opened.until(f"{TOLD} === 'Choose a picture, or an item on the map.'")
    opened.until("document.querySelector('[data-part=query]').dataset.started")
    opened.complaints.clear()
    return opened


def tab(browser: Browser, name: str) -> None:
    browser.run(
        "[...document.querySelectorAll('button[role=tab]')]"
        f".find((one) => one.textContent.trim() === '{name}')?.click()"
    )


def drop(browser: Browser, file: Path) -> None:
    """Drop a file on the page, as the mouse would."""
    content = base64.b64encode(file.read_bytes()).decode()
    browser.run(
        "(() => { const data = new DataTransfer();"
        f" const bytes = Uint8Array.from(atob('{content}'), (one) => one.charCodeAt(0));"
        f" data.items.add(new File([bytes], {json.dumps(file.name)}, {{type: 'image/png'}}));"
        " const dropped = {dataTransfer: data, bubbles: true, cancelable: true};"
        " document.dispatchEvent(new DragEvent('drop', dropped)); })()"
    )


def choose(browser: Browser, file: Path) -> None:
    """Choose a file in the dialogue."""
    root = browser("DOM.getDocument")["root"]["nodeId"]
    node = browser("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
    browser("DOM.setFileInputFiles", nodeId=node, files=[str(file)])


def write(browser: Browser, label: str, text: str) -> None:
    """Write into a field of the conditions and press Enter."""
    browser.run(
        "(() => { const field = [...document.querySelectorAll('label')].find((one) =>"
        f" one.textContent.trim().startsWith({json.dumps(label)})).querySelector('input, textarea');"
        " field.focus(); field.select(); })()"
    )
    if text:
        browser("Input.insertText", text=text)
    else:
        browser.key("Backspace")
    browser.key("Enter", text="\r")


def test_a_chosen_picture_finds_itself_and_its_like(page: Browser, served: Served) -> None:
    choose(page, served.photos / "amber" / "03.png")
    names = page.until(f"{NAMES}.length && {NAMES}")
    assert names[0] == "amber/03.png"
    assert page.run("document.querySelector('.hit b').textContent") == "1.000"
    assert page.run("document.querySelector('.picture img').naturalWidth") > 0
    page.until("[...document.querySelectorAll('.hit img')].slice(0, 4).every((one) => one.naturalWidth > 0)")
    assert page.complaints == []


def test_a_click_on_a_result_searches_again_and_back_leads_back(page: Browser, served: Served) -> None:
    choose(page, served.photos / "amber" / "03.png")
    first = page.until(f"{NAMES}.length && {NAMES}")
    assert not page.run(BACK)
    page.click(".hit", 1)
    page.until(f"document.querySelector('.stage .name').textContent === {json.dumps(first[1])}")
    assert first[1] not in page.run(NAMES)
    assert page.run(BACK)
    page.click(".back")
    assert page.until(f"{IDLE} && !{BACK} && {NAMES}") == first
    assert not page.run(BACK)


def test_a_box_drawn_with_the_mouse_searches_by_the_part(page: Browser, served: Served) -> None:
    drop(page, served.photos / "green" / "05.png")
    whole = page.until(f"{NAMES}.length && {NAMES}")
    page.until("document.querySelector('.picture img').naturalWidth > 0")
    left, top, width, height = page.place(".picture img")
    page.mouse("Pressed", left + 0.25 * width, top + 0.25 * height)
    page.mouse("Moved", left + 0.6 * width, top + 0.5 * height)
    page.mouse("Released", left + 0.75 * width, top + 0.75 * height)
    page.until(f"{BACK} && {IDLE}")
    asked = page.run("import('/sslkit/assets/asking.js').then((one) => one.state.asked)")
    assert asked["box"] == pytest.approx([0.25, 0.25, 0.5, 0.5], abs=0.03)
    assert page.run(NAMES) == [hit["name"] for hit in served.search(**asked)["hits"]] != whole
    page.click(".hint button")
    page.until(f"{IDLE} && {NAMES}[0] === 'green/05.png'")
    assert page.run(NAMES) == whole
    assert page.run("document.querySelector('.box').hidden")


def test_the_box_can_be_drawn_with_the_keys(page: Browser, served: Served) -> None:
    choose(page, served.photos / "green" / "05.png")
    page.until(f"{NAMES}.length")
    page.run("document.querySelector('.picture').focus()")
    page.key("Enter")
    page.key("ArrowRight")
    page.key("ArrowDown", shift=True)
    page.until(BACK)
    box = page.run("import('/sslkit/assets/asking.js').then((one) => one.state.asked.box)")
    assert box == pytest.approx([0.28, 0.25, 0.5, 0.53])
    page.key("Escape")
    page.until("document.querySelector('.box').hidden")


def test_conditions_narrow_the_results_and_a_wrong_one_is_explained(page: Browser, served: Served) -> None:
    choose(page, served.photos / "amber" / "03.png")
    page.until(f"{NAMES}.length")
    write(page, "Path", "green/*")
    page.until(f"{IDLE} && {NAMES}.length === 10 && {NAMES}.every((one) => one.startsWith('green/'))")
    write(page, "Condition", "year < ")
    error = page.until(ERROR)
    assert "year <" in error
    assert "it may name id, path, label" in error
    write(page, "Condition", "year >= 2027")
    page.until(f"!{ERROR} && {NAMES}.length === 3")
    page.click(".back")
    page.until(f"{NAMES}.length === 10 && document.querySelectorAll('textarea, input').length")
    values = page.run("[...document.querySelectorAll('#sslkit-conditions input')].map((one) => one.value)")
    assert "green/*" in values
    assert "year >= 2027" not in values
    write(page, "Path", "nowhere/*")
    assert page.until(f"{NAMES}.length === 0 && {TOLD}").startswith("Nothing fits")


def test_what_names_and_metadata_hold_is_shown_as_text(page: Browser, served: Served) -> None:
    choose(page, served.photos / "blue <b>" / "00.png")
    assert page.until(f"{NAMES}.length && {NAMES}")[0] == "blue <b>/00.png"
    assert page.run("document.querySelector('.hit .tag').textContent") == "blue <b>"
    assert (
        page.run("[...document.querySelectorAll('dd')].map((one) => one.textContent)")[1] == '<i>"it\'s"</i>'
    )
    assert page.run("document.querySelectorAll('[data-part=results] i, .hit .name b').length") == 0


def test_the_map_shows_points_that_can_be_pointed_at_and_searched_by(page: Browser, served: Served) -> None:
    tab(page, "Map")
    page.until("document.querySelector('[data-part=map] .told')?.textContent.startsWith('Near is similar')")
    inked = (
        "(() => { const one = document.querySelector('canvas');"
        " const { data } = one.getContext('2d').getImageData(0, 0, one.width, one.height);"
        " return data.filter((value, at) => at % 4 === 3 && value).length })()"
    )
    page.until(f"{inked} > 100")
    assert page.run("[...document.querySelectorAll('.legend button')].map((one) => one.textContent)") == [
        "amber 10",
        "blue <b> 10",
        "green 10",
    ]
    left, top, width, height = page.place("canvas")
    page.run("document.querySelector('canvas').focus()")
    page.key("ArrowRight")  # shows what is nearest to the middle
    page.until(
        "!document.querySelector('.tip').hidden && document.querySelector('.tip img').naturalWidth > 0"
    )
    named = page.run("document.querySelector('.tip figcaption').textContent")
    page.key("Enter")
    assert page.until("document.querySelector('.stage .name').textContent") in named
    page.until("document.querySelectorAll('[data-part=map] .hit').length === 12")
    page.mouse("Wheel", left + width / 2, top + height / 2, deltaX=0, deltaY=-800)
    page.mouse("Pressed", left + width / 2, top + height / 2)
    page.mouse("Moved", left + width / 2 + 60, top + height / 2)
    page.mouse("Released", left + width / 2 + 60, top + height / 2)
    assert page.complaints == []


def test_a_phone_has_no_need_to_scroll_sideways(page: Browser, served: Served) -> None:
    page.resize(380, 800)
    try:
        choose(page, served.photos / "amber" / "03.png")
        page.until(f"{NAMES}.length")
        assert page.run("document.documentElement.scrollWidth") <= 380
        tab(page, "Map")
        page.until("document.querySelector('canvas')?.clientWidth > 250")
        assert page.run("document.documentElement.scrollWidth") <= 380
    finally:
        page.resize(1280, 900)


def test_every_control_has_a_name(page: Browser, served: Served) -> None:
    choose(page, served.photos / "amber" / "03.png")
    page.until(f"{NAMES}.length")
    page("Accessibility.enable")
    nodes = page("Accessibility.getFullAXTree")["nodes"]
    kinds = {"button", "textbox", "checkbox", "slider", "combobox", "listbox", "tab", "spinbutton", "link"}
    unnamed = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in kinds and not node.get("name", {}).get("value")
    ]
    assert unnamed == []


def test_nothing_is_asked_of_any_other_host(page: Browser, served: Served) -> None:
    """All that was loaded by the tests before this one, too."""
    own = (f"http://127.0.0.1:{served.port}/", "data:", "blob:", "about:")
    assert len(page.requests) > 50
    assert [address for address in page.requests if not address.startswith(own)] == []


def test_the_token_does_not_stay_in_the_address(opened: Browser, served: Served) -> None:
    assert served.token not in opened.run("location.href")
    assert served.token not in opened.run("document.cookie")
