"""Transport: how carriers are built, behind one seam."""
