"""What a rendered configuration is applied to: files with a command here; a proxy elsewhere."""
