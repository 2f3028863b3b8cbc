"""What a worker process has while handlers run: connections of its own, and the leases it keeps."""
