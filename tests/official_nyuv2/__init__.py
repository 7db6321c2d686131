"""Rendered frames as the official files of NYUv2, so that its converter can be tested without them.

Names, types, axis orders and quirks are those of nyu_depth_v2_labeled.mat and splits.mat: labels of
894 names from 1, instance ids that restart in every class, label 0 in thin gaps and along the
border, a white border in the images, splits from 1, sequences 'kitchen_0028a' and 'kitchen_0028b'
of one scene, normals that are unknown where the raw depth is missing.

What a test may take as the truth about a frame:

- `depths` is the exact rendered depth, hence has no holes. (NYUv2 in-paints a measured one.)
- `rawDepths` is a centimetre more where `kinect_holes` leaves it known, and 0 elsewhere.
- instances are those of the frame, with `label_gaps(frame.instances)` set to nothing.
- the image is the frame's, after `with_white_border`.
"""
