"""Words that give a message away, folded: lower case, no accents, apostrophes as spaces.

A phrase of several words stands between bars. First group: strong; second: weak.
"""

from __future__ import annotations

from types import MappingProxyType

CODE = (
    """python javascript typescript java c++ c# golang php sql bash regex regexp html css json
    yaml
    xml docker dockerfile kubernetes git github gitlab linux terraform react django flask fastapi
    numpy pandas nodejs npm api debug debugger stacktrace traceback segfault refactor refactoring
    unittest pytest makefile nginx postgres postgresql mysql mongodb websocket powershell compiler
    compilateur pseudocode bugfix stdout stderr typeerror valueerror keyerror nullpointerexception
    |for loop| |while loop| |pull request| |unit test| |shell script| |stack overflow|
    |list comprehension| |fonction python| |ligne de commande| |command line| |sql query|
    |requete sql| |base de donnees|""",
    """code coder function fonction classe script program programme programmer array tableau loop
    boucle variable bug compile algorithm algorithme database query endpoint library bibliotheque
    method methode string exception recursive recursion terminal commande command syntax syntaxe
    software logiciel backend frontend server serveur rust ruby swift kotlin shell fichier file
    install installer error erreur""",
)

REASONING = (
    """calculate calcule calculer compute solve resous resoudre equation integral integrale
    derivative derivee probability probabilite theorem theoreme prove demontre demontrer proof
    arithmetic arithmetique percent pourcent percentage pourcentage riddle enigme puzzle deduce
    deduis syllogism divided divise multiplied multiplie squared prime premier
    |how many| |how much| |fois combien| |times what| |how long| |how far| |how old|
    |combien de| |combien d| |combien coute|
    |quel age| |step by step| |etape par etape| |square root| |racine carree| |average speed|
    |vitesse moyenne| |what is the next| |true or false| |vrai ou faux| |if all| |si tous|
    |au total| |in total| |kilometres par heure| |miles per hour| |plus petit que| |more than|""",
    """number nombre sum somme total average moyenne logic logique cost coute costs price prix
    each
    chacun chaque remaining reste left minutes hours heures fois times minus coutent km kg
    meters metres euros dollars
    altogether twice double triple half moitie third tiers fraction ratio speed vitesse age
    conclude conclure therefore donc valid""",
)

CREATIVE = (
    """poem poeme haiku story histoire conte tale lyrics chanson song sonnet limerick novel roman
    slogan tagline screenplay scenario plot intrigue villain protagonist rap verse essay
    dissertation speech discours toast horoscope fable blog newsletter invitation acrostic
    acrostiche |once upon a time| |il etait une fois| |write a letter| |ecris une lettre|
    |cover letter|
    |lettre de motivation| |write an email| |ecris un mail| |ecris un email| |blog post|
    |article de blog| |short story| |fairy tale| |conte de fees| |imagine a| |imagine une|
    |imagine un| |invent a| |invente une| |invente un| |product description|
    |titres accrocheurs|""",
    """write ecris redige rediger compose imagine invent invente creative creatif funny drole
    character personnage dialogue scene title titre titres romantic romantique email mail lettre
    letter announcement annonce birthday anniversaire describe decris story-telling""",
)

MULTILINGUAL = (
    """translate translation traduire traduis traduction traduisez traduit conjugate conjugaison
    conjugue translator pronunciation prononce prononciation idiom
    |translate into| |translate to| |traduis en| |traduire en| |in french| |in spanish|
    |in german|
    |in italian| |in japanese| |in chinese| |in arabic|
    |in english| |en anglais| |en espagnol| |en allemand| |en italien| |en japonais| |en chinois|
    |en arabe| |en russe| |en portugais| |into french| |into english| |into spanish| |to french|
    |how do you say| |comment dit on| |comment on dit| |que veut dire| |mean in|
    |difference between ser| |false friend| |faux ami|""",
    """language langue spanish espagnol german allemand italian italien japanese japonais chinese
    chinois arabic arabe russian russe portuguese portugais korean coreen latin dutch polish
    grammar
    grammaire vocabulary vocabulaire verb verbe plural pluriel accent bilingual bilingue""",
)

CONVERSATION = (
    """hello hi hey bonjour salut bonsoir coucou thanks merci |who are you| |qui es tu|
    |how are you| |ca va| |comment vas tu| |comment ca va| |what is| |who is| |qui est|
    |c est quoi|
    |qu est ce| |what do you think| |que penses tu| |tell me about| |parle moi| |good morning|
    |code de la route| |code postal| |code civil| |dress code| |zip code| |code promo|""",
    """why pourquoi when quand where ou who qui what quel quelle advice conseil recommend
    recommande
    opinion explain explique should dois best meilleur summarize resume help aide""",
)

# Words that look like programming and are not, in these phrases.
DECEPTIVE = (
    "code de la route",
    "code postal",
    "code civil",
    "code penal",
    "code promo",
    "dress code",
    "zip code",
    "penal code",
    "classe de neige",
    "programme tele",
    "programme scolaire",
    "server at a restaurant",
)

LANGUAGE_WORDS = MappingProxyType(
    {
        "en": "the of and to is in that it you for are with what how do does my can this i a why"
        " please me write tell who when where which not have be will would should explain give",
        "fr": "le la les de des et est un une que qui dans pour pas sur je tu il nous vous mon ma"
        " comment quoi quel quelle avec ce cette du en ne ca moi peux fais donne ecris bonjour au",
        "es": "el los las una que por para con como es y en del mi cual quien donde cuando hola"
        " puedes cuanto esta muy pero gracias hay hacer porque dime soy tengo quiero se lo",
        "de": "der die das und ist ich nicht ein eine wie was mit den dem wer wo warum kann mir"
        " bitte hallo auf wir sie zu von fur im du mein welche gibt es sind haben",
        "it": "il lo gli una che di per con come sono non cosa chi dove quando ciao puoi mi del"
        " della quanto perche questo e nel alla dei scrivi quale ho",
        "pt": "o os as um uma que de para com como nao por mais em do da voce qual quem onde ola"
        " quando obrigado isso meu minha sao tem fazer posso ele",
        "nl": "de het een en van is ik niet dat wat hoe met voor op zijn je wie waar kan mij hallo"
        " hebben deze naar ook waarom welke bent",
    }
)
