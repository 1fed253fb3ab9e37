"""The one place where what should be on a bridge meets what is."""
