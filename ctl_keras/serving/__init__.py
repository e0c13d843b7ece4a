"""What TensorFlow Serving is started with, and a development server in its place."""
