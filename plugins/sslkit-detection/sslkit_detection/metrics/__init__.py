"""Figures of detections: COCO's and Pascal VOC's average precision, recall of proposals."""
