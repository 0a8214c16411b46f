"""What a person reads afterwards: reports and launch scripts, from run directories alone."""
