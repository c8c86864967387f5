"""The Protect Server: ast3d and protectd shake hands, and each brings the other back.  Standard library only."""
