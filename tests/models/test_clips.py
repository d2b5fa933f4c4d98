"""A network for images sees a clip frame by frame."""

import torch

from sslkit.models.creation import create_backbone


def test_the_embedding_of_a_clip_is_the_mean_of_its_frames() -> None:
    backbone = create_backbone("test_resnet", size=32).eval()
    clips = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    by_frame = torch.stack([backbone(clips[:, frame]) for frame in range(3)], dim=1)
    torch.testing.assert_close(backbone(clips), by_frame.mean(dim=1))
    assert not torch.allclose(backbone(clips), by_frame[:, 0])
