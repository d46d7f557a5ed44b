"""privzoo: private split inference on faces."""
