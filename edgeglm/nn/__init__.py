"""The maths, on torch and ONNX graphs; knows no recipe."""
