"""substrate.experiment"""
