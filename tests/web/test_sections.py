"""Each section of the page works, with a real server."""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import expect

from cifar10net import Client
from docs.showcase import MadeRun
from tests.web.conftest import IMAGES, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route


def _card(page: Page, name: str) -> Locator:
    return page.locator("#answers > li", has=page.get_by_role("heading", name=name, exact=True))


def _pixels(canvas: Locator) -> str:
    """Return the pixels of a canvas as text."""
    return str(canvas.evaluate("canvas => canvas.toDataURL()"))


def test_chosen_pictures_get_the_grpc_servers_answers(visit: Visit) -> None:
    page = visit.open("classify")
    files = [IMAGES / "dog.jpg", IMAGES / "ship.png", IMAGES / "bird-kingfisher.webp"]

    visit.give(*files)

    with Client(visit.site.address) as client:
        expected = client.classify(files)
    for file, result in zip(files, expected, strict=True):
        card = _card(page, file.name)
        texts = [f"{each.label}{each.probability:.1%}" for each in result.classes]
        expect(card.locator(".bars li")).to_have_text(texts)
        expect(card.locator(".seen img")).to_have_js_property("naturalWidth", 32)
        expect(card).to_contain_text("cifar10net version 1 · CPUExecutionProvider")
        expect(card.locator(".times dd").first).to_have_text(re.compile(r"\d m?s"))
    expect(page.locator("#spoken")).to_contain_text("ship.png: ship 97%")


def test_a_broken_picture_shows_its_error_and_does_not_affect_others(visit: Visit) -> None:
    page = visit.open("classify")

    visit.give(IMAGES / "SOURCES.md", IMAGES / "horse.jpg")

    expect(_card(page, "SOURCES.md").locator(".trouble")).to_contain_text("no JPEG, PNG, WebP, BMP or GIF")
    expect(_card(page, "horse.jpg").locator(".bars li").first).to_contain_text("horse")


def test_pictures_are_dropped_pasted_photographed_and_taken_from_samples(visit: Visit) -> None:
    page = visit.open("classify")
    page.get_by_role("button", name=re.compile("Sample:.*ship")).click()
    expect(_card(page, "ship.png").locator(".bars")).to_be_visible()
    for event, attribute in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """async ([event, attribute, name]) => {
                const file = new File([await (await fetch("v1/samples/dog.jpg")).blob()], name);
                const data = new DataTransfer();
                data.items.add(file);
                const kind = event === "drop" ? DragEvent : ClipboardEvent;
                const given = { [attribute]: data, bubbles: true, cancelable: true };
                document.body.dispatchEvent(new kind(event, given));
            }""",
            [event, attribute, f"{event}.jpg"],
        )
        expect(_card(page, f"{event}.jpg").locator(".bars")).to_be_visible()

    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").click()

    expect(page.locator("#answers > li").first.locator(".bars")).to_be_visible()
    expect(page.locator("#answers h2").first).to_contain_text("photograph")
    expect(page.locator("#answers > li")).to_have_count(4)
    page.get_by_role("button", name="Remove drop.jpg").click()
    expect(page.locator("#answers > li")).to_have_count(3)


def test_choosing_another_model_classifies_the_pictures_again(visit: Visit) -> None:
    page = visit.open("classify")
    visit.give(IMAGES / "dog.jpg")
    expect(_card(page, "dog.jpg")).to_contain_text("cifar10net version 1")

    page.get_by_label("Model").select_option(label="lenet")

    expect(_card(page, "dog.jpg")).to_contain_text("lenet version 1")
    with Client(visit.site.address) as client:
        best = client.classify([IMAGES / "dog.jpg"], model="lenet")[0].best
    expect(_card(page, "dog.jpg").locator(".bars li").first).to_have_text(
        f"{best.label}{best.probability:.1%}"
    )


def test_another_model_takes_over_when_the_chosen_one_is_gone(visit: Visit) -> None:
    page = visit.open("classify")
    visit.give(IMAGES / "dog.jpg")
    expect(_card(page, "dog.jpg")).to_contain_text("cifar10net version 1")

    def without_the_first(route: Route) -> None:
        response = route.fetch().json()
        route.fulfill(json={**response, "models": response["models"][1:]})

    page.route("**/v1/models", without_the_first)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # which makes it poll at once

    expect(_card(page, "dog.jpg")).to_contain_text("lenet version 1")


def test_shifting_the_picture_changes_the_answers_of_all_models(visit: Visit) -> None:
    page = visit.open("compare")
    visit.give(IMAGES / "dog.jpg")
    models = page.locator("#compare-models .cards > li")
    expect(models.get_by_role("heading")).to_have_text(["cifar10net", "lenet"])
    expect(models.locator(".shift-map")).to_have_count(2)
    expect(page.locator(".verdict")).to_contain_text("(not moved)")
    before, bars = _pixels(page.locator("#compare-aside canvas")), models.locator(".bars").all_inner_texts()

    page.get_by_label("Shift to the right").fill("3")
    page.get_by_label("Shift down").fill("-2")

    expect(page.locator(".verdict")).to_contain_text("(3 px right, 2 px up)")
    moved = models.locator(".bars").all_inner_texts()
    assert moved[0] != bars[0]
    assert moved[1] != bars[1]
    assert _pixels(page.locator("#compare-aside canvas")) != before
    expected = page.evaluate(
        """async () => {
            const body = await (await fetch("v1/samples/dog.jpg")).blob();
            const answer = await fetch("v1/classify?shift_x=3&shift_y=-2", { method: "POST", body });
            const { results: [{ seen, top }] } = await answer.json();
            const image = new Image();
            image.src = seen;
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 32;
            canvas.getContext("2d").drawImage(image, 0, 0);
            return [canvas.toDataURL(), `${top[0].label}\\n${(100 * top[0].probability).toFixed(1)}%`];
        }"""
    )
    assert _pixels(page.locator("#compare-aside canvas")) == expected[0]  # shifted as the server does
    assert moved[0].startswith(expected[1])

    page.locator(".shift-map").first.locator("g").nth(40).click()
    expect(page.locator(".verdict")).to_contain_text("(not moved)")


def test_layers_are_listed_and_receptive_fields_are_framed(visit: Visit) -> None:
    page = visit.open("inside")
    visit.give(IMAGES / "cat-kitten.jpg")
    expect(page.get_by_role("table", name="Layers").locator("tfoot")).to_contain_text("22,466")
    row = page.get_by_role("table", name="Layers").get_by_role("row", name="conv2")
    expect(row).to_contain_text("20 × 16 × 16")  # noqa: RUF001 - times, not an x
    tiles = page.get_by_role("application", name="Activations of conv2.")
    expect(page.locator(".layer canvas").first).not_to_have_js_property(
        "width", 300
    )  # the default width of a canvas: not drawn yet
    expect(page.locator("#inside-aside .bars li").first).to_contain_text("cat")

    frame = page.locator("#inside-aside .frame")
    square = (
        "frame => ['left', 'top', 'width', 'height'].map(each => parseFloat(frame.style[each]) * 32 / 100)"
    )

    page.get_by_role("application", name="Activations of conv1.").hover(position={"x": 1, "y": 1})
    description = page.locator(".viewer .read")
    expect(description).to_contain_text("conv1, channel 0, row 0, column 0")
    expect(description).to_contain_text("depends on pixels 0 to 2 across, 0 to 2 down")
    tiles.hover(position={"x": 68 + 4 * 8 + 1, "y": 4 * 2 + 1})
    expect(description).to_contain_text("conv2, channel 1, row 2, column 8")
    expect(description).to_contain_text("depends on pixels 10 to 23 across, 0 to 11 down")
    assert frame.evaluate(square) == [10, 0, 14, 12]


def test_kernels_are_shown_in_colour_and_deeper_ones_by_channel(visit: Visit) -> None:
    page = visit.open("inside")
    visit.give(IMAGES / "dog.jpg")
    first, second = (page.get_by_role("region", name=f"Layer {name}") for name in ("conv1", "conv2"))

    first.get_by_text("Kernels:").click()
    first.get_by_role("application", name="Filters of conv1").hover(position={"x": 3, "y": 3})
    expect(page.locator(".viewer .read")).to_contain_text(
        re.compile("filter 0, row 0, column 0: red .*green .*blue")
    )

    second.get_by_text("Kernels:").click()
    second.get_by_label("Channel", exact=True).select_option("7")
    second.get_by_role("application", name="Kernels of conv2, channel 7").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")

    response = page.request.get(f"{visit.site.url}/v1/models/cifar10net/layers/conv2/weights").json()
    weights = np.frombuffer(base64.b64decode(response["data"]), "<f4").reshape(response["shape"])
    expect(page.locator(".viewer .read")).to_contain_text("kernel 7: input channel 0, row 2, column 3")
    shown = float(page.locator(".viewer .read strong").inner_text())
    assert shown == pytest.approx(weights[7, 0, 2, 3], rel=0.01)


def test_occlusion_shows_which_pixels_mattered(visit: Visit) -> None:
    page = visit.open("inside")
    visit.give(IMAGES / "ship.png")
    board = page.get_by_role("application", name="Heat map")
    expect(page.locator(".mattered")).to_contain_text(re.compile(r"\d+\.\d% ship"))

    board.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer .read")).to_contain_text(re.compile(r"% ship with this square hidden, \d+"))

    page.get_by_label("Hidden square").select_option("16")
    expect(page.locator(".mattered")).to_contain_text("raises it")
    board.focus()
    page.keyboard.press("ArrowRight")
    width = page.locator("#inside-aside .frame").evaluate("frame => frame.style.width")
    assert width == "50%"  # of 32 pixels


def test_test_images_are_marked_filtered_and_counted(visit: Visit) -> None:
    page = visit.open("test")
    images = page.locator(".test-images > li")
    expect(images).to_have_count(24)
    expect(page.locator("#test-body")).to_contain_text(re.compile(r"\d+ right of 60 images\."))
    right = int(re.findall(r"(\d+) right of", page.locator("#test-body").inner_text())[0])
    accuracy = right / 60
    error = 100 * (accuracy * (1 - accuracy) / 60) ** 0.5
    expect(page.locator(".figure")).to_have_text(re.compile(rf"{accuracy:.1%} ± {error:.1f}"))
    table = page.get_by_role("table", name="Images by true class")
    assert sum(int(text) for text in table.locator("td.hit").all_inner_texts() if text != "·") == right

    page.get_by_label("mistakes only").check()
    expect(page.locator(".test-images .is-right")).to_have_count(0)
    expect(page.locator(".test-images .is-wrong").first.get_by_role("img", name="wrong:")).to_be_visible()
    page.get_by_label("mistakes only").uncheck()
    page.get_by_label("Class", exact=True).select_option("ship")
    expect(images).to_have_count(6)
    expect(page.locator(".test-images .truth")).to_contain_text(["ship"] * 6)


def test_other_images_draws_different_ones(visit: Visit) -> None:
    page = visit.open("test")
    expect(page.locator(".test-images > li")).to_have_count(24)
    shown = "JSON.stringify([...document.querySelectorAll('.test-images img')].map((each) => each.alt))"
    before = page.evaluate(shown)

    page.get_by_role("button", name="Other images").click()

    page.wait_for_function(f"before => {shown} !== before", arg=before)
    expect(page.locator(".test-images > li")).to_have_count(24)


def test_curves_of_several_runs_grow_while_one_goes_on(visit: Visit) -> None:
    run = MadeRun(visit.site.runs / "<i>live", "cifar10net", 20, best=0.75, pace=0.2).go_on(2)
    with run.running():
        page = visit.open("training")
        card = page.locator(".run", has_text="<i>live")
        expect(card).to_contain_text("● running")
        expect(card).to_contain_text("epoch 2 of 20")
        expect(card).to_contain_text("left")
        chart = page.get_by_role("region", name="Validation accuracy")
        expect(chart.locator(".line")).to_have_count(6)  # three runs, top-1 and top-3
        filters = page.get_by_role("region", name="Filters of <i>live")
        before = _pixels(filters.locator("canvas"))

        names = page.locator(".run strong")
        order = names.all_inner_texts()

        os.utime(visit.site.runs / "first" / "metrics.jsonl")  # which changes the server's order
        run.go_on(3)

        expect(card).to_contain_text("epoch 5 of 20")
        expect(filters.get_by_role("application", name="after epoch 5.")).to_be_visible()
        assert _pixels(filters.locator("canvas")) != before
        filters.get_by_role("slider").press("Home")
        expect(filters.get_by_role("application", name="after epoch 1.")).to_be_visible()
        assert names.all_inner_texts() == order
    expect(card).to_contain_text("■ stopped")


def test_the_numbers_of_a_chart_are_shown_as_a_table(visit: Visit) -> None:
    page = visit.open("training")
    chart = page.get_by_role("region", name="Training loss")
    expect(chart.locator(".line").first).to_be_visible()

    chart.get_by_text("Numbers").click()

    expect(chart.get_by_role("table").locator("tbody tr").first).to_contain_text("1")
    for box in page.locator(".run input").all():
        box.uncheck()
    expect(chart.locator(".line")).to_have_count(0)
