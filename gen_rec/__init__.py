"""gen_rec: a generative recommender that writes two semantic IDs for what a user wants next."""
