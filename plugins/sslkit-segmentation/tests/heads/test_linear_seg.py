"""The dense linear probe against its parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, SemanticMap, Task
from sslkit.errors import ConfigError
from sslkit_segmentation.heads.linear_seg import LinearSeg

INFO = FeatureInfo(("a", "b"), (3, 5), (4, 8), 8, 8, (0.5,) * 3, (0.5,) * 3)
TASK = Task("semantic", ("sky", "road", "car"), (16, 24), counts=(70, 20, 10))


def features(valid: tuple[int, int] = (16, 24)) -> HeadFeatures:
    generator = torch.Generator().manual_seed(0)
    maps = (
        FeatureMap(torch.randn(2, 3, 4, 6, generator=generator), 4),
        FeatureMap(torch.randn(2, 5, 2, 3, generator=generator), 8),
    )
    return HeadFeatures(None, maps, (16, 24), (Meta(0, "", valid, valid, (16, 24)),) * 2)


def test_it_is_a_plane_through_normalised_features() -> None:
    head = LinearSeg(INFO, TASK)
    given = features()
    values = given.maps[1].values
    mean, spread = values.mean(dim=(0, 2, 3)), values.var(dim=(0, 2, 3), unbiased=False)
    normal = (values - mean[:, None, None]) / (spread[:, None, None] + 1e-5).sqrt()
    planes = torch.einsum("kc,nchw->nkhw", head.classify.weight[:, :, 0, 0], normal)
    planes = planes + head.classify.bias[:, None, None]  # type: ignore[index]
    expected = F.interpolate(planes, scale_factor=8, mode="bilinear", align_corners=False)
    torch.testing.assert_close(head(given), expected, atol=1e-5, rtol=1e-5)


def test_all_maps_stand_side_by_side_at_the_finest_stride() -> None:
    head = LinearSeg(INFO, TASK, maps="all").eval()
    given = features()
    assert head.classify.weight.shape == (3, 8, 1, 1)
    changed = (given.maps[0], FeatureMap(given.maps[1].values * 2, 8))
    fine, coarse = head(given), head(HeadFeatures(None, changed, (16, 24), given.metas))
    assert fine.shape == (2, 3, 16, 24)
    assert not torch.allclose(fine, coarse)


def test_without_a_norm_it_is_the_plane_alone() -> None:
    head = LinearSeg(INFO, TASK, norm="none")
    given = features()
    planes = torch.einsum("kc,nchw->nkhw", head.classify.weight[:, :, 0, 0], given.maps[1].values)
    planes = planes + head.classify.bias[:, None, None]  # type: ignore[index]
    expected = F.interpolate(planes, scale_factor=8, mode="bilinear", align_corners=False)
    torch.testing.assert_close(head(given), expected, atol=1e-5, rtol=1e-5)
    assert set(head.state_dict()) == {"classify.weight", "classify.bias"}


def test_dropout_takes_whole_channels_while_training_alone() -> None:
    head = LinearSeg(INFO, TASK, norm="none", dropout=0.5)
    given = features()
    with torch.no_grad():  # every class sees one channel
        head.classify.weight.zero_()
        head.classify.bias.zero_()  # type: ignore[union-attr]
        for place in range(3):
            head.classify.weight[place, place] = 1.0
        whole = head.eval()(given)
        torch.manual_seed(0)
        dropped = head.train()(given)
    for image in range(2):
        for place in range(3):
            shares = dropped[image, place] / whole[image, place]
            assert shares.allclose(shares.flatten()[0], atol=1e-3)
            assert round(float(shares.flatten()[0]), 2) in (0.0, 2.0)
    assert head.eval()(given).equal(whole)


def test_predictions_have_the_originals_pixels_and_none_of_the_padding() -> None:
    head = LinearSeg(INFO, TASK)
    raw = torch.zeros(1, 3, 16, 24)
    raw[:, 1, :8, :12] = 1  # the image is road
    raw[:, 2, 8:], raw[:, 2, :, 12:] = 9, 9  # the padding says car
    (found,) = head.decode(raw, [Meta(0, "", (40, 60), (8, 12), (16, 24))])
    assert found.labels.shape == (40, 60)
    assert found.labels.dtype == torch.uint8
    assert (found.labels == 1).all()


def test_options_reach_the_loss_and_the_weights_are_not_saved() -> None:
    head = LinearSeg(INFO, TASK, loss="ce+dice", class_weights="inverse", reduction="by_count")
    labels = torch.randint(0, 3, (16, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    terms = head.loss(head(features()), [SemanticMap(labels)] * 2)
    assert set(terms) == {"ce", "dice"}
    assert not [name for name in head.state_dict() if "criterion" in name]


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="maps is 'lost'; it is one of last, all; did you mean 'last'"):
        LinearSeg(INFO, TASK, maps="lost")
    with pytest.raises(ConfigError, match="norm is 'layer'; it is one of batch, none"):
        LinearSeg(INFO, TASK, norm="layer")
    with pytest.raises(ConfigError, match=r"dropout is 1\.0; it is at least 0 and less than 1"):
        LinearSeg(INFO, TASK, dropout=1.0)
    with pytest.raises(ConfigError, match="was given 1 classes; it needs 2 to 255"):
        LinearSeg(INFO, Task("semantic", ("thing",), (16, 24)))
    with pytest.raises(ConfigError, match="class_weights inverse needs the pixels"):
        LinearSeg(INFO, Task("semantic", ("a", "b"), (16, 24)), class_weights="inverse")
