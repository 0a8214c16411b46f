"""Evidence beyond the gates: does the supernet learn, and does it rank subnets as they would rank by themselves?"""
