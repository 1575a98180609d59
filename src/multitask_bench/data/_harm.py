"""Requests that look harmful, by words alone: a coarse flag for training rows, never a judge.

An act and its object must stand near each other ("steal ... identity", "build ... bomb"), so that
one alarming word is not enough. What it finds and what it misses is measured in
``benchmarks/preflight`` and stands in the message of the finding.
"""

from __future__ import annotations

import re

_GAP = r"(?:\W+\w+){0,6}?\W+"
_PAIRS = (
    (r"(?:build|make|making|construct\w*|creat\w+|assembl\w+|buy\w*|obtain\w*|synthesi\w+|manufactur\w+|produc\w+|cook\w*|grow\w*)",
     r"(?:bombs?|explosives?|grenades?|molotov|pipe ?bombs?|nerve agents?|sarin|anthrax|ricin|bioweapons?|chemical weapons?|"
     r"dirty bombs?|meth\w*|heroin|cocaine|fentanyl|mdma|lsd|silencers?|ghost guns?|untraceable (?:guns?|firearms?)|"
     r"malware|ransomware|keyloggers?|virus(?:es)?|trojans?|botnets?|rootkits?|spyware|backdoors?|exploits?|"
     r"counterfeit \w+|fake (?:ids?|passports?|money|news|reviews?|identit\w+|documents?|currency)|deepfakes?|phishing \w+)"),
    (r"(?:hack\w*|break\w*|crack\w*|infiltrat\w+|bypass\w*|compromis\w+|gain\w* (?:unauthori[sz]ed )?access|intercept\w*|hijack\w*|disabl\w+|sabotag\w+)",
     r"(?:account|password|network|server|database|system|wi-?fi|bank|government|security|website|phone|email|computer|firewall|"
     r"infrastructure|grid|voting|atm|webcam|encryption|drm|authentication|traffic lights?|medical (?:device|record)s?)s?"),
    (r"(?:steal\w*|launder\w*|embezzl\w+|smuggl\w+|traffick\w+|forg(?:e|ing)|counterfeit\w*|extort\w*|blackmail\w*|defraud\w*|scam\w*|"
     r"cheat\w*|shoplift\w*|evad\w+|swindl\w+|trick\w*|con|deceiv\w+|manipulat\w+)",
     r"(?:identit\w+|money|credit cards?|personal (?:information|data)|data|people|persons?|victims?|elderly|seniors?|tax(?:es)?|customers?|"
     r"investors?|drugs?|weapons?|humans?|organs?|signatures?|documents?|elections?|votes?|stocks?|cars?|someone|users?|employees?|public|"
     r"insurance|stores?|shops?|goods|secrets)"),
    (r"(?:kill\w*|murder\w*|poison\w*|assassinat\w+|tortur\w+|stab\w*|shoot\w*|attack\w*|beat\w*|hurt\w*|harm\w*|kidnap\w*|stalk\w*|rape\w*|"
     r"assault\w*|harass\w*|bully\w*|threaten\w*|intimidat\w+|lynch\w*|behead\w*|strangl\w+|mutilat\w+|exterminat\w+|abus\w+|maim\w*)",
     r"(?:people|persons?|someone|somebody|him|her|them|wife|husband|girlfriend|boyfriend|neighbou?rs?|colleagues?|coworkers?|classmates?|"
     r"victims?|women|men|children|immigrants?|muslims?|jews?|christians?|civilians?|crowds?|police|officers?|politicians?|presidents?|"
     r"myself|yourself|animals?|dogs?|cats?|family|parents?|boss|students?|teachers?|minorit\w+|protesters?|ex)"),
    (r"(?:promot\w+|encourag\w+|incit\w+|glorif\w+|spread\w*|justif\w+|write|writ\w+|creat\w+|organi[sz]\w+|plan\w*|carry out|commit\w*|advocat\w+)",
     r"(?:violence|suicide|self-?harm|anorexia|terroris\w+|hate|hatred|racis\w+|antisemit\w+|genocide|riots?|mass shooting|arson|"
     r"disinformation|misinformation|conspirac\w+|white supremac\w+|slurs?|fraud|theft|murder|robber\w+|burglar\w+|massacres?|defam\w+|"
     r"extremis\w+|discriminat\w+|eating disorders?|child porn\w*|insider trading|money laundering|ponzi)"),
)  # fmt: skip
_WHOLE = (
    r"\b(?:how (?:do|can|to|would)|ways? to|methods? (?:to|for|of)|best way)\b.{0,40}\b(?:kill (?:myself|someone|people)|commit suicide|"
    r"cut myself|starve myself|overdose|get away with|avoid (?:getting )?caught|without (?:getting|being) (?:caught|detected))\b",
    r"\bfake\b.{0,20}\b(?:prescription|vaccin\w+|diploma|charity|evidence)\b",
    r"\b(?:date|spike|roofie)\w*\b.{0,20}\b(?:drinks?|drug)\b.{0,30}\b(?:her|him|girl|woman|someone)\b",
    r"\b(?:why|that)\b.{0,30}\b(?:inferior|subhuman|should be (?:exterminated|killed|eradicated)|deserve to die)\b",
)
_FLAG = re.compile("|".join([*(rf"\b{act}\b{_GAP}{thing}\b" for act, thing in _PAIRS), *_WHOLE]), re.IGNORECASE)
_HARMLESS = re.compile(
    r"\b(?:avoid|prevent|detect|protect|fight|against|scan|history of|causes of|summary of|novel|story|film|game|play|compost)\b",
    re.IGNORECASE,
)
LONGEST = 300
"""Characters of a request that are read: the request itself, not the article that may follow it."""


def looks_harmful(request: str) -> bool:
    """Whether the words of a request join a harmful act to its object."""
    return bool(_FLAG.search(request[:LONGEST]) and not _HARMLESS.search(request[:LONGEST]))
