"""The workstation's side: from a folder of photographs to a bundle. Nothing on the device imports this package."""
