"""The site that the chaos befalls."""
