"""Who is who: certificates of boards, of those who collect and operate, and of the broker."""
