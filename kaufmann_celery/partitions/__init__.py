"""What the ingester knows of each partition it owns: how it got it, how far all is finished, what is pending."""
