"""A local web page to look around in an index: search by pictures, their parts and items; a map of all.

`server` runs it, `guard` decides who may ask, `routes` answer, `desk` searches, `page` is what is shown.
Gradio draws the frame and the controls in the browser; none of its routes that take or give files is open.
"""
