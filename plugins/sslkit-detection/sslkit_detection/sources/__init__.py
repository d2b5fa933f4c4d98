"""Where labelled images lie: COCO JSON, Pascal VOC XML, YOLO text."""
