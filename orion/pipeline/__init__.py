"""Offline tools over weights: conversion, quantisation. They import tensor libraries."""
