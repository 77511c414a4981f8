"""What several tests share: strategies named by shape, and an oracle for gradients."""
