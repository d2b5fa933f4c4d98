"""Random views made on the device, and the plain view of evaluation; the only room that knows kornia."""
