"""The output folder: its files, the manifest, the golden samples."""
