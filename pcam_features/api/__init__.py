"""The public functions of pcam; `import pcam_features as pcam` offers them."""
