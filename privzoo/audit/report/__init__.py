"""What the audit found: tables, pictures, one HTML page."""
