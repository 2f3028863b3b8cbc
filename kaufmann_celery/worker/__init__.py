"""What a worker process has while handlers run: its own connections, the leases it keeps, what it vouches for."""
