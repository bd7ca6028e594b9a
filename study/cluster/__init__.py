"""Ray: worker groups that stay, the search over trials, the classifiers of the curve."""
